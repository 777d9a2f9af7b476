"""What earlier starts measured, so that the next need not measure it again.

Figures lie in the folder of compiled libraries, which cleans itself up and may be shared, under
a key of all that they depend on. They are figures and no code, and still are checked like it:
digest, form and range. Whatever is wrong with them, or with the folder, they are measured anew.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import IntegrityError
from models.files import read_regular
from server.pipeline.compile_cache import CacheError, CompileCache, DamagedEntryError

log = logging.getLogger(__name__)

PREFIX = "tuning-"  # of the entries' names
_FILE = "figures.json"
_MAX_BYTES = 2**18
_MOST_FIGURES = 4096
_LARGEST = 1e9

Facts = Mapping[str, object]


class TuningSource(StrEnum):
    """Where a model version's batch times came from."""

    MEASURED = "measured"  # at this start
    READ = "read"  # from an earlier one, and found to hold


class _Entry(BaseModel):
    """What lies in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    facts: dict[str, object]
    figures: dict[
        Annotated[int, Field(ge=1)],
        Annotated[float, Field(gt=0, le=_LARGEST, allow_inf_nan=False)],
    ] = Field(max_length=_MOST_FIGURES)


class TuningStore:
    """Figures by what they depend on. Its methods read and write files; they never raise.

    Args:
        cache: Whose folder they share.
    """

    def __init__(self, cache: CompileCache) -> None:
        self._cache = cache

    def find(self, facts: Facts, of: Collection[int]) -> dict[int, float] | None:
        """What was measured under these very ``facts``; None where that is not known.

        Args:
            facts: All that the figures depend on, fit for JSON.
            of: What there has to be a figure for, and nothing else.
        """
        try:
            files = self._cache.find(_key(facts))
            if files is None:
                return None
            entry = _Entry.model_validate_json(read_regular(files[_FILE], _MAX_BYTES))
        except CacheError as error:
            log.info("earlier measurements cannot be read: %s", error)
        except (DamagedEntryError, IntegrityError, ValidationError, KeyError) as error:
            log.warning("an earlier measurement was damaged and is taken anew: %s", error)
        else:
            if entry.facts == dict(facts) and entry.figures.keys() == set(of):
                return dict(entry.figures)
        return None

    def keep(self, facts: Facts, figures: Mapping[int, float]) -> None:
        """Keep figures for the next start, in the place of those that were there."""
        try:
            content = _Entry(facts=dict(facts), figures=dict(figures)).model_dump_json()
            with self._cache.staging() as folder:
                path: Path = folder / _FILE
                path.write_text(content, encoding="utf-8")
                self._cache.keep(_key(facts), {_FILE: path}, replace=True)
        except (CacheError, DamagedEntryError, OSError) as error:
            log.info("measurements cannot be kept: %s", error)
        except ValidationError as error:
            log.warning("measurements that make no sense are not kept: %s", error)


def _key(facts: Facts) -> str:
    return PREFIX + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
