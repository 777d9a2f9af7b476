"""Settings from flags, environment (``MENAGERIE_*``) and a TOML file, in this order."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

import models

ENVIRONMENT_PREFIX = "MENAGERIE_"
_ZOO = Path(models.__file__).parent / "zoo"


class SettingsError(Exception):
    """A setting is unknown, malformed or out of range."""


class QueuePolicySettings(BaseModel):
    """What requests of one priority may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(default=0, ge=0, description="most that may wait; 0: the queue's limit")
    timeout_ms: float = Field(
        default=0.0,
        ge=0,
        description="longest time to the answer, in milliseconds; a caller's deadline may be"
        " earlier, not later; 0: the caller's",
    )


class QueuePolicies(BaseModel):
    """Policies by priority."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interactive: QueuePolicySettings = QueuePolicySettings()
    normal: QueuePolicySettings = QueuePolicySettings()
    bulk: QueuePolicySettings = QueuePolicySettings()


class Settings(BaseSettings):
    """Everything an operator can set; ``python -m server --help`` lists it."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True, validate_default=True
    )

    config: Path | None = Field(default=None, description="TOML file with settings")
    repository: Path = Field(default=_ZOO, description="model repository, a folder")
    default_model: str = Field(
        default="", description="model for requests that name none; empty: the first by name"
    )
    host: str = Field(default="127.0.0.1", description="address for gRPC")
    port: int = Field(default=50051, ge=0, le=65535, description="port for gRPC; 0: a free one")
    metrics_host: str = Field(default="127.0.0.1", description="address for Prometheus metrics")
    metrics_port: int = Field(
        default=9090, ge=0, le=65535, description="port for Prometheus metrics; 0: a free one"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where models run; auto: cuda when there is one"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="arithmetic of models; auto: bf16 where it is native and holds"
    )
    max_batch_size: int = Field(default=16, ge=1, le=1024, description="most images in a batch")
    max_queue_delay_ms: float = Field(
        default=0.0, ge=0, le=10_000, description="longest wait for company while an engine is free"
    )
    queue_limit: int = Field(
        default=1024, ge=1, description="most images that may wait for a decoder or the engine"
    )
    queue_policies: QueuePolicies = Field(
        default=QueuePolicies(), description="what requests of each priority may do"
    )
    slo_p99_ms: float = Field(
        default=0.0,
        ge=0,
        le=600_000,
        description="what 99 of 100 answers may take in queue and engine, in milliseconds: batches"
        " are kept small enough, and what would take longer is refused; 0: no such limit",
    )
    lanes: int = Field(
        default=0, ge=0, le=256, description="batches computed at the same time; 0: chosen"
    )
    threads_per_lane: int = Field(
        default=0, ge=0, le=256, description="threads of each lane; 0: chosen"
    )
    decode_workers: int = Field(
        default=0, ge=0, le=256, description="images decoded at the same time; 0: one per core"
    )
    max_message_bytes: int = Field(
        default=32 * 2**20, ge=1024, le=2**31 - 1, description="largest gRPC message, in bytes"
    )
    max_batch_items: int = Field(
        default=64, ge=1, description="most requests in one ClassifyBatch call"
    )
    stream_window: int = Field(
        default=64, ge=1, description="requests of one stream in work at the same time"
    )
    max_image_pixels: int = Field(default=50_000_000, ge=1, description="largest image, in pixels")
    grace_period_s: float = Field(
        default=30.0, ge=0, description="longest wait for accepted requests at shutdown, in seconds"
    )
    lame_duck_s: float = Field(
        default=1.0,
        ge=0,
        description="how long to refuse calls before closing their connections, in seconds",
    )
    reflection: bool = Field(default=False, description="serve gRPC reflection")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least important log line to write"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags come through ``init_settings``; then the environment; then the TOML file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(arguments: Sequence[str]) -> Settings:
    """Merge flags, environment and the TOML file that ``--config`` names.

    Raises:
        SettingsError: A setting is unknown, malformed or out of range.
        SystemExit: ``--help`` was asked for, or a flag is unknown.
    """
    path = _config_path(arguments)
    if path is not None and not path.is_file():
        raise SettingsError(f"config: {path} is not a file")

    class SettingsWithFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    flags: CliSettingsSource[argparse.ArgumentParser] = CliSettingsSource(
        SettingsWithFile,
        cli_parse_args=list(arguments),
        cli_prog_name="python -m server",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )
    try:
        return SettingsWithFile(**flags())
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(problems) from error
    except ValueError as error:  # the TOML file does not parse
        raise SettingsError(f"config: {path}: {error}") from error


def _config_path(arguments: Sequence[str]) -> Path | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", default=os.environ.get(f"{ENVIRONMENT_PREFIX}CONFIG"))
    chosen: str | None = parser.parse_known_args(arguments)[0].config
    return Path(chosen) if chosen else None
