"""Options and arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder or archive with the recipe's photos. Default: the recipe's public data set"
        " (fit), or what the run trained on.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Where archives are unpacked and decoded photos kept."
        " Default: $MENAGERIE_CACHE, or menagerie in the user's cache folder."
    ),
]
OthersOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder with photos that are of none of the classes: they choose the novelty score"
        " and say what it detects."
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RECIPE]",
        help="A bundled recipe's name, a TOML file, or a run's recipe.json."
        " Default: settings chosen from the data.",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="What the body starts from: imagenet, a file (.pth, .ckpt, .safetensors), the folder"
        " of a run or of a published version, or none."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a recipe's key: --set fit.epochs=3. May be given again for another one.",
    ),
]
