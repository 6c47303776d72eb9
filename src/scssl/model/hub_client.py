"""The client of the Hugging Face hub as scssl uses it: IDs, where it looks, and its errors in words."""

from __future__ import annotations

import logging
import os
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scssl.errors import DataError, SettingsError
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY: Final = "scssl"
HOME: Final = "https://huggingface.co"

_ID: Final = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(@(?P<revision>\w[\w./-]{0,127}))?", flags=re.ASCII
)
_TRUE: Final = {"1", "on", "yes", "true"}


@dataclass(frozen=True, kw_only=True)
class HubId:
    """A model on the hub: ``owner/name``, or ``owner/name@revision`` for one branch, tag or commit."""

    repo: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> HubId:
        """Read an ID.

        Parameters
        ----------
        text
            ``owner/name`` or ``owner/name@revision``.

        Raises
        ------
        SettingsError
            If it is none.
        """
        found = _ID.fullmatch(text)
        if found is None or ".." in text or "--" in found["repo"] or found["repo"].endswith((".git", ".", "-")):
            message = f"{text!r} is no model on the hub; write owner/name, or owner/name@revision"
            raise SettingsError(message)
        return cls(repo=found["repo"], revision=found["revision"] or "main")

    @classmethod
    def like(cls, text: str) -> bool:
        """Say whether a text could be an ID.

        Parameters
        ----------
        text
            What was given as a model.
        """
        try:
            cls.parse(text)
        except SettingsError:
            return False
        return True

    def __str__(self) -> str:
        return self.repo if self.revision == "main" else f"{self.repo}@{self.revision}"


@contextmanager
def understood(wanted: HubId | None, *, doing: str) -> Iterator[None]:
    """Turn what the hub's client raises into one line that says what to do."""
    from huggingface_hub import errors

    # Its transport differs between versions (requests, httpx); what it raises is a base of its own error.
    bases = errors.HfHubHTTPError.__mro__
    transport: tuple[Any, ...] = tuple(base for base in bases if base.__name__ in ("HTTPError", "RequestException"))
    what = f"{wanted} cannot be {doing}" if wanted is not None else f"models cannot be {doing}"
    where = endpoint() or HOME
    try:
        with warnings.catch_warnings():
            # About its own next releases.
            warnings.simplefilter("ignore")
            yield
    except errors.GatedRepoError as error:
        message = f"{what} {where}: its owner wants to be asked; do so on its page, then log in with: hf auth login"
        raise DataError(message) from error
    except errors.RevisionNotFoundError as error:
        message = f"{what} {where}: it has no revision {wanted.revision if wanted else ''!r}"
        raise DataError(message) from error
    except errors.RepositoryNotFoundError as error:
        message = f"{what} {where}: there is no such model, or it is private; then log in with: hf auth login"
        raise DataError(message) from error
    except errors.EntryNotFoundError as error:
        message = f"{what} {where}: a file of it is not there"
        raise DataError(message) from error
    except (errors.HfHubHTTPError, errors.LocalTokenNotFoundError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        fix = "log in with: hf auth login" if status in (401, 403, None) else "try again later"
        if status == 412:
            fix = "somebody changed it meanwhile: look at what is there now, and try again"
        message = f"{what} {where} (status {status}); {fix}"
        raise DataError(message) from error
    except (*transport, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        message = f"{what} {where} ({type(error).__name__}: {reason}); is there a network?"
        raise DataError(message) from error


def unreachable(error: BaseException | None) -> bool:
    """Whether an error of the client means that the hub did not answer, rather than that it said no."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is None or status >= 500


@contextmanager
def bars(hub: Any) -> Iterator[None]:
    """Let the client draw its bars only where scssl would draw its own."""
    utils = hub.utils
    before = utils.are_progress_bars_disabled()
    if logger.level == logging.NOTSET or not logger.isEnabledFor(logging.INFO):
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            utils.enable_progress_bars()


def api(hub: Any) -> Any:
    """Return the client."""
    return hub.HfApi(endpoint=endpoint(), library_name=LIBRARY)


def reach(hub: Any) -> None:
    """Fail at once where there is no network: lists are asked for again and again by the client, for half a minute."""
    hub.utils.get_session().head(endpoint() or HOME, timeout=10)


def endpoint() -> str | None:
    """Return where the hub is, if not at its usual place."""
    # Read when it is used: the client reads its own only once.
    return os.environ.get("HF_ENDPOINT") or None


def cache_dir(hub: Any) -> str:
    """Return where the client keeps what it has fetched."""
    return os.environ.get("HF_HUB_CACHE") or str(hub.constants.HF_HUB_CACHE)


def offline(hub: Any) -> bool:
    """Whether the network is not to be used."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE or bool(hub.constants.HF_HUB_OFFLINE)
