"""The two packages that build engines, `tensorrt` and `tensorrt_rtx`, behind one adapter."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from trtfuse.errors import EngineError, UsageError
from trtfuse.groups.target import capability

#: The packages by the name that is imported, the preferred one first, with what installs each.
PACKAGES = {
    "tensorrt": ("TensorRT", "pip install 'trtfuse[tensorrt]'"),
    "tensorrt_rtx": ("TensorRT for RTX", "pip install 'trtfuse[rtx]'"),
}


@dataclass(frozen=True)
class Backend:
    """A package that builds engines.

    Attributes:
        name: the module, "tensorrt" or "tensorrt_rtx".
        version: as the package says it.
        trt: the module itself.
        targets: the compute capabilities to choose from, each with the package's own value;
            empty where the package builds for the GPU of the machine alone.
    """

    name: str
    version: str
    trt: ModuleType = field(repr=False)
    targets: dict[str, Any] = field(repr=False)

    @property
    def title(self) -> str:
        """The name for people."""
        return PACKAGES[self.name][0]

    @property
    def rtx(self) -> bool:
        """Whether this is TensorRT for RTX, which has no plugins and no timing cache."""
        return self.name == "tensorrt_rtx"

    def chosen(self, targets: Iterable[str | float]) -> tuple[str, ...]:
        """Compute capabilities that were asked for, each once.

        Raises:
            UsageError: this package cannot build for one of them.
        """
        chosen = tuple(dict.fromkeys(map(capability, targets)))
        if chosen and not self.targets:
            raise UsageError(
                f"{self.title} builds for the GPU of this machine; leave the targets out"
            )
        for target in chosen:
            if target not in self.targets:
                known = ", ".join(self.targets)
                raise UsageError(
                    f"{self.title} {self.version} cannot build for compute capability "
                    f"'{target}'; it knows {known}"
                )
        return chosen


def find_backend(name: str | None = None) -> Backend:
    """The package that builds engines: the one of a name, or the first that is installed.

    Raises:
        UsageError: there is no package of that name.
        EngineError: it is not installed, cannot be loaded, or is too old.
    """
    if name is not None and name not in PACKAGES:
        near = difflib.get_close_matches(name, PACKAGES, 1, 0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(PACKAGES)}"
        raise UsageError(f"there is no backend '{name}'; {hint}")
    missing = []
    for package in PACKAGES if name is None else (name,):
        try:
            return _loaded(package)
        except EngineError as error:
            missing.append(str(error))
    if name is None and all(reason.endswith("is not installed") for reason in missing):
        raise EngineError(
            f"no TensorRT is installed; {PACKAGES['tensorrt_rtx'][1]} gets one that builds "
            f"engines without a GPU, {PACKAGES['tensorrt'][1]} the full one"
        )
    installs = PACKAGES[name or "tensorrt_rtx"][1]
    raise EngineError(f"{'; '.join(missing)}; {installs} installs it")


def _loaded(name: str) -> Backend:
    title = PACKAGES[name][0]
    try:
        trt = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise EngineError(f"{title} (package '{name}') is not installed") from None
        raise EngineError(f"'{name}' cannot be loaded: {_line(error)}") from None
    except Exception as error:  # noqa: BLE001 - a missing library shows in many ways
        raise EngineError(f"'{name}' cannot be loaded: {_line(error)}") from None
    version = str(getattr(trt, "__version__", "0"))
    if name == "tensorrt" and int(version.split(".")[0]) < 10:
        raise EngineError(f"TensorRT {version} is too old, 10 or later is needed")
    capabilities = getattr(trt, "ComputeCapability", None)
    members: dict[str, Any] = getattr(capabilities, "__members__", {})
    targets = {
        f"{member[2:-1]}.{member[-1]}": value
        for member, value in members.items()
        if member.startswith("SM")
    }
    ordered = dict(sorted(targets.items(), key=lambda item: float(item[0])))
    return Backend(name, version, trt, ordered)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
