"""All settings together, and what follows from them."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import model_validator
from pydantic_settings import SettingsConfigDict

from core.errors import InputError
from core.finetuning import FinetuneSettings, FinetuneWish, finetuning, parse_changes, split_changes
from core.home import Home
from core.settings.feedback import FeedbackSettings
from core.settings.gate import GateSettings
from core.settings.learning import LearningSettings
from core.settings.service import ServiceSettings
from core.settings.serving import ServingSettings
from core.slo import Objectives

if TYPE_CHECKING:
    from core.redaction import Redactor

# The first parts of routes, which a classifier's name would hide.
_RESERVED_NAMES = frozenset({"v1", "v2", "hf", "predict", "info", "health", "healthz", "readyz", "metrics", "docs", "console"})


# Fields are listed from the last base to the first: the reference begins with the service.
class Settings(GateSettings, LearningSettings, FeedbackSettings, ServingSettings, ServiceSettings):
    """What an operator can decide; every default suits one laptop."""

    # The groups say it too, where type checkers do not look.
    model_config = SettingsConfigDict(frozen=True)

    @model_validator(mode="after")
    def _is_told_apart(self) -> Settings:
        if self.name in _RESERVED_NAMES:
            raise ValueError(f"HONE_NAME must not be {self.name}: routes begin like that")
        if self.name and self.store_url and "{name}" not in self.store_url:
            raise ValueError("HONE_STORE_URL must hold {name} where HONE_NAME is set, or classifiers would share a store")
        return self

    @model_validator(mode="after")
    def _can_keep_time(self) -> Settings:
        from core.timetable import Cron, QuietHours, zone_of

        zone = zone_of(self.learn_time_zone)
        Cron.parse(self.learn_cron, zone)
        QuietHours.parse(self.learn_quiet_hours, zone)
        return self

    @model_validator(mode="after")
    def _can_finetune(self) -> Settings:
        try:
            self.finetuning(FinetuneWish())
        except InputError as error:
            raise ValueError(error.message) from error
        return self

    @model_validator(mode="after")
    def _can_redact(self) -> Settings:
        if self.log_text != "full":
            self.redactor  # noqa: B018 - said here, an operator sees it at the start and not at the first text
        return self

    @property
    def redactor(self) -> Redactor:
        """What takes personal data out of texts.

        Raises:
            ValueError: the settings name what there is not.
        """
        from core.redaction import redactor_of

        return redactor_of(self.redact_kinds, self.redact_patterns, self.redact_regions)

    @property
    def objectives(self) -> Objectives:
        """What is promised of answers."""
        return Objectives(self.slo_availability_ratio, self.slo_latency_s, self.slo_latency_ratio)

    @property
    def home(self) -> Home:
        """The layout of the state folder."""
        return Home(self.base_dir / self.name)

    @property
    def base_dir(self) -> Path:
        """The folder in which the state folder is, of one classifier or of several that have names."""
        return self.home_dir.expanduser().resolve()

    @property
    def route_prefix(self) -> str:
        """What all routes begin with; empty where the classifier has no name."""
        return f"/{self.name}" if self.name else ""

    @property
    def app_name(self) -> str:
        """What Ray Serve calls the application."""
        return f"hone-{self.name}" if self.name else "hone"

    @property
    def bundles_address(self) -> str:
        """Where this classifier's versions are in the object store; empty where there is none."""
        return f"{self.bundles_url.rstrip('/')}{self.route_prefix}" if self.bundles_url else ""

    def finetuning(self, wish: FinetuneWish) -> FinetuneSettings:
        """Return how a run trains the encoder that is asked for with ``wish``.

        Raises:
            InputError: naming each setting of fine-tuning that there is not, or that cannot have its value.
        """
        usual = {} if wish.preset else parse_changes(split_changes(self.learn_finetune))
        changes = {"replay_ratio": self.learn_replay_ratio, **usual, **wish.changes}
        return finetuning(wish.preset or self.learn_preset, changes)

    def threads_per_engine(self, cores: int) -> int:
        """Return how many threads each replica's engine gets, so that all replicas together fit ``cores``.

        >>> home = Path("/srv/hone")
        >>> Settings(HONE_HOME=home).threads_per_engine(8), Settings(HONE_HOME=home, replicas_max=4).threads_per_engine(8)
        (8, 2)
        """
        return self.engine_threads or max(1, cores // max(self.replicas, self.replicas_max))

    @property
    def url(self) -> str:
        """Where this stack's service is reached from this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        where = f"[{host}]" if ":" in host else host
        return f"http://{where}:{self.port}{self.route_prefix}"

    @property
    def on_loopback(self) -> bool:
        """Whether the service listens where only this machine reaches it."""
        name = self.host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            # A name can mean any address, and another one tomorrow.
            return False

    @property
    def authenticated(self) -> bool:
        """Whether requests take an API key."""
        return self.auth == "on" or (self.auth == "auto" and not self.on_loopback)

    @property
    def sqlalchemy_url(self) -> str:
        """The store's address, with the default filled in."""
        return self.store_url.replace("{name}", self.name) or f"sqlite:///{self.home.store}"
