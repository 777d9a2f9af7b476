from pathlib import Path

from trainer.history import COLUMNS, HistoryLogger, read_history, rewind_history


def test_rows_come_back_and_a_resumed_epoch_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    logger = HistoryLogger(path)
    for epoch in range(3):
        logger.log_metrics({"epoch": epoch, "train/loss": 3.0 - epoch, "unknown": 1.0}, step=epoch)
    logger.log_metrics({"epoch": 2, "unknown": 1.0}, step=9)
    assert [row["train/loss"] for row in read_history(path)] == [3.0, 2.0, 1.0]
    rewind_history(path, epoch=2)
    HistoryLogger(path).log_metrics({"epoch": 2, "train/loss": 0.5}, step=2)
    assert [row["train/loss"] for row in read_history(path)] == [3.0, 2.0, 0.5]
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.csv"]
