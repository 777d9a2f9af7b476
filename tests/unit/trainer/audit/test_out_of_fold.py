from trainer.audit.out_of_fold import stratified_folds


def test_folds_are_even_in_every_class() -> None:
    labels = [0] * 10 + [1] * 7
    folds = stratified_folds(labels, 3, 0, {})
    for label in (0, 1):
        sizes = [
            sum(fold == n and own == label for fold, own in zip(folds, labels, strict=True))
            for n in range(3)
        ]
        assert max(sizes) - min(sizes) <= 1
    assert folds == stratified_folds(labels, 3, 0, {}) != stratified_folds(labels, 3, 1, {})


def test_no_network_learns_the_copy_of_a_photo_that_it_judges() -> None:
    originals = {11: 0, 12: 11, 3: 19, 4: 19}
    for seed in range(20):
        folds = stratified_folds([0] * 10 + [1] * 10, 5, seed, originals)
        assert folds[0] == folds[11] == folds[12]
        assert folds[19] == folds[3] == folds[4]
