"""Settings from flags, environment (``MENAGERIE_*``) and a TOML file, in this order."""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

import models
from models.store_url import URL_PATTERN, without_credentials
from server.catalog.policy import LATEST
from server.catalog.policy import PATTERN as POLICY_PATTERN

ENVIRONMENT_PREFIX = "MENAGERIE_"
_ZOO = Path(models.__file__).parent / "zoo"


StoreUrl = Annotated[str, Field(pattern=URL_PATTERN)]


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


class ModelSettings(BaseModel):
    """What holds for one model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    versions: str = Field(
        default="", pattern=f"^$|{POLICY_PATTERN}", description="as version_policy; empty: that"
    )
    default_label: str = Field(
        default=LATEST,
        min_length=1,
        description="the version label that answers requests that name no version",
    )


class Settings(BaseSettings):
    """Everything an operator can set; ``python -m server --help`` lists it."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True, validate_default=True
    )

    config: Path | None = Field(default=None, description="TOML file with settings")
    repository: Path | StoreUrl = Field(
        default=_ZOO,
        description="model repository: a folder, or the URL of a store (s3, gs, https, http, file)",
    )
    store_cache: Path | None = Field(
        default=None,
        description="folder for versions fetched from a store, this user's alone; not given:"
        " menagerie in the user's cache folder",
    )
    store_cache_check: bool = Field(
        default=True,
        description="refuse that folder where others could write it; off for a volume that one"
        " container has to itself",
    )
    store_cache_mib: int = Field(
        default=10 * 1024,
        ge=1,
        description="most that is kept of a store, in MiB; at least two versions should fit",
    )
    store_poll_s: float = Field(
        default=30.0, gt=0, le=86_400, description="how often to look at the store, in seconds"
    )
    default_model: str = Field(
        default="", description="model for requests that name none; empty: the first by name"
    )
    model_key: Path | None = Field(
        default=None,
        description="public key, PEM; given: only models that it signed are opened",
    )
    models: dict[str, ModelSettings] = Field(
        default={}, description="by model, what holds for it alone: versions, default_label"
    )
    version_policy: str = Field(
        default="latest:1",
        pattern=POLICY_PATTERN,
        description="which versions to serve: latest:N, all, or listed as 1,4",
    )
    model_control: Literal["watch", "explicit"] = Field(
        default="watch",
        description="watch: the repository says what is loaded; explicit: calls of AdminService do",
    )
    start_models: tuple[str, ...] = Field(
        default=(), description="models to load at start when model_control is explicit"
    )
    repository_poll_s: float = Field(
        default=2.0,
        ge=0,
        le=86_400,
        description="how often to look at the repository, in seconds; 0: at start alone",
    )
    state_dir: Path | None = Field(
        default=None,
        description="folder of this server alone, for what administrators set by call: labels,"
        " canaries, shadows and rollbacks then survive a restart; not given: they do not",
    )
    memory_limit_bytes: int = Field(
        default=0,
        ge=0,
        description="memory for model versions: what would not fit is not loaded; 0: nine tenths of"
        " what is free on the device at start",
    )
    host: str = Field(default="127.0.0.1", description="address for gRPC")
    port: int = Field(default=50051, ge=0, le=65535, description="port for gRPC; 0: a free one")
    probe_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="port for health alone, without TLS, on the address for gRPC: for probes that"
        " speak none; not given: none",
    )
    admin_host: str = Field(default="127.0.0.1", description="address for administration")
    admin_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="port for administration (AdminService); 0: a free one; not given: none",
    )
    tls_certificate: Path | None = Field(
        default=None, description="certificate chain, PEM; read anew when it changes"
    )
    tls_key: Path | None = Field(default=None, description="its private key, PEM")
    tls_client_ca: Path | None = Field(
        default=None,
        description="who signs clients' certificates, PEM; given: clients must show one",
    )
    insecure: bool = Field(
        default=False, description="listen on a public address without TLS: a proxy has it"
    )
    clients: Path | None = Field(
        default=None,
        description="TOML file of who may call (SECURITY.md), read anew when it changes; not"
        " given: everybody may classify and read",
    )
    client_rate_per_s: float = Field(
        default=0.0, ge=0, description="images a second of one client, at most; 0: any number"
    )
    client_concurrency: int = Field(
        default=0, ge=0, description="images of one client at the same time, at most; 0: any number"
    )
    metrics_host: str = Field(default="127.0.0.1", description="address for Prometheus metrics")
    metrics_port: int = Field(
        default=9090, ge=0, le=65535, description="port for Prometheus metrics; 0: a free one"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where models run; auto: cuda when there is one"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="arithmetic of models; auto: bf16 where it is native and holds, and on a CPU"
        " int8 where the artifact offers it and it is faster; fp16 is for GPUs that lack bf16",
    )
    engine: Literal["auto", "torchscript", "compiled"] = Field(
        default="auto",
        description="what computes on a CPU; TorchScript starts, and stays where the compiled"
        " model does not hold; auto: the compiled model where it is faster, in int8 where that is"
        " faster still; compiled: even where it is not, and never in int8",
    )
    compile_cache: Path | None = Field(
        default=None,
        description="folder for compiled models, this user's alone; not given: menagerie in the"
        " user's cache folder",
    )
    compile_cache_check: bool = Field(
        default=True,
        description="refuse that folder where others could write it; off for a volume that one"
        " container has to itself",
    )
    compile_timeout_s: float = Field(
        default=900.0, gt=0, description="longest time to compile a model, in seconds"
    )
    saved_tuning: bool = Field(
        default=True,
        description="keep what warm-up measures in the folder for compiled models, and start with"
        " what an earlier start measured if it still holds; off: measure at every start",
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
    brownout_sides: tuple[Annotated[int, Field(ge=8, le=4096)], ...] = Field(
        default=(),
        max_length=4,
        description="sides in pixels to which images may be shrunk, in steps, before they are"
        " refused for lack of time; their answers say so; none: images are refused",
    )
    lanes: int = Field(
        default=0,
        ge=0,
        le=256,
        description="batches computed at the same time; 0: measured at start",
    )
    threads_per_lane: int = Field(
        default=0, ge=0, le=256, description="threads of each lane; 0: chosen"
    )
    decode_workers: int = Field(
        default=0, ge=0, le=256, description="images decoded at the same time; 0: one per core"
    )
    gpu_decode: bool = Field(
        default=False,
        description="decode JPEG files on the GPU, whole batches at a time, where that gives the"
        " same pixels but for rounding; for one process: fronts decode on their cores",
    )
    fronts: int = Field(
        default=1,
        ge=1,
        le=64,
        description="processes that take requests and decode; with more than one, models run in"
        " a process of their own",
    )
    max_message_bytes: int = Field(
        default=32 * 2**20, ge=1024, le=2**31 - 1, description="largest gRPC message, in bytes"
    )
    max_metadata_bytes: int = Field(
        default=16 * 2**10, ge=1024, le=2**20, description="largest metadata of a call, in bytes"
    )
    max_batch_items: int = Field(
        default=64, ge=1, description="most requests in one ClassifyBatch call"
    )
    stream_window: int = Field(
        default=64, ge=1, description="requests of one stream in work at the same time"
    )
    max_image_pixels: int = Field(default=50_000_000, ge=1, description="largest image, in pixels")
    max_image_aspect_ratio: float = Field(
        default=100.0, ge=1, description="long side of an image over its short side, at most"
    )
    max_jpeg_scans: int = Field(
        default=50, ge=1, description="most scans of a progressive JPEG; each costs a pass over it"
    )
    max_image_frames: int = Field(
        default=1000,
        ge=1,
        description="most frames of an animation, of which the first is classified",
    )
    default_deadline_s: float = Field(
        default=30.0,
        gt=0,
        le=86_400,
        description="how long a request may take whose caller set no deadline, in seconds",
    )
    max_connections: int = Field(
        default=10_000, ge=1, description="most open connections; more are closed at once"
    )
    max_calls_per_connection: int = Field(
        default=1024, ge=1, description="calls of one connection at the same time; more wait"
    )
    max_connection_age_s: float = Field(
        default=0.0,
        ge=0,
        description="after which time clients are asked to connect anew, so that load spreads over"
        " new replicas; in seconds; 0: never",
    )
    keepalive_s: float = Field(
        default=60.0,
        ge=1,
        description="silence of a connection after which the server asks whether the client is"
        " still there, in seconds",
    )
    capture: Path | StoreUrl | None = Field(
        default=None,
        description="where to keep photos to learn from, of senders who allow it: a folder, or the"
        " URL of a store (s3, gs, file); none: none is kept",
    )
    capture_per_minute: float = Field(
        default=60.0, gt=0, description="most uncertain and novel photos kept in a minute"
    )
    capture_budget_mib: int = Field(
        default=1024, ge=1, description="most of the capture folder's photos, in MiB"
    )
    record: Path | None = Field(
        default=None,
        description="folder for a record of requests with their arrival times, to be replayed;"
        " images only of senders who allow it; none: nothing is recorded",
    )
    record_share: float = Field(
        default=0.1, ge=0, le=1, description="share of the requests that are recorded"
    )
    record_budget_mib: int = Field(
        default=256, ge=1, description="most of the record, in MiB; the oldest requests go first"
    )
    feedback_memory: int = Field(
        default=10_000, ge=1, description="answers that Feedback can still speak of"
    )
    response_cache_mb: int = Field(
        default=0,
        ge=0,
        description="answers kept to be given again to the same image for the same model version"
        " and options, in MiB; 0: none is kept",
    )
    grace_period_s: float = Field(
        default=30.0, ge=0, description="longest wait for accepted requests at shutdown, in seconds"
    )
    shutdown_delay_s: float = Field(
        default=0.0,
        ge=0,
        description="how long to go on serving once health says NOT_SERVING, so that load balancers"
        " notice, in seconds",
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
    log_request_share: float = Field(
        default=1.0, ge=0, le=1, description="share of the requests that get a log line"
    )
    slow_request_ms: float = Field(
        default=1000.0,
        ge=0,
        description="requests that take longer get a log line with what each step took, in"
        " milliseconds; 0: none does",
    )
    otlp_endpoint: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="OpenTelemetry receiver of traces (OTLP over gRPC), http://HOST:PORT; empty:"
        " no traces",
    )
    trace_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="share of the requests that are traced, beside those whose caller traces them",
    )
    triton_metrics: bool = Field(
        default=False, description="serve metrics under Triton's names too (nv_inference_*)"
    )

    @field_validator("repository", "capture", mode="before")
    @classmethod
    def _no_other_url(cls, place: object) -> object:
        is_url = isinstance(place, str) and "://" in place
        if is_url and not re.search(URL_PATTERN, str(place)):
            kinds = "s3://, gs://, https://, http:// or file://, without ? and #"
            raise ValueError(f"must be a folder or the URL of a store: {kinds}")
        return place

    @field_serializer("repository", "capture")
    def _without_credentials(self, place: Path | str | None) -> str | None:
        if isinstance(place, str):
            return without_credentials(place)
        return None if place is None else str(place)

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
