"""Which package builds engines, and what is said where there is none."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from trtfuse.engine.backend import PACKAGES, find_backend
from trtfuse.errors import EngineError, UsageError


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither package is installed, as far as imports go."""
    for name in PACKAGES:
        # This is how Python itself notes that there is no such module.
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Nothing(), *sys.meta_path])


class _Nothing:
    def find_spec(self, name: str, *_: object) -> None:
        if name in PACKAGES:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def test_tensorrt_for_rtx_is_found_with_its_targets() -> None:
    backend = find_backend("tensorrt_rtx")
    assert (backend.name, backend.title, backend.rtx) == ("tensorrt_rtx", "TensorRT for RTX", True)
    assert list(backend.targets)[:4] == ["7.5", "8.0", "8.6", "8.9"]
    assert backend.chosen(["8.9", "8.6", "8.9"]) == ("8.9", "8.6")
    assert backend.chosen([8.6, "8.6"]) == ("8.6",)
    assert backend.chosen([]) == ()


def test_full_tensorrt_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    full = ModuleType("tensorrt")
    full.__dict__["__version__"] = "10.13.2"
    monkeypatch.setitem(sys.modules, "tensorrt", full)
    backend = find_backend()
    assert (backend.name, backend.version, backend.rtx) == ("tensorrt", "10.13.2", False)
    with pytest.raises(UsageError, match=r"^TensorRT builds for the GPU of this machine; leave"):
        backend.chosen(["8.6"])


def test_a_tensorrt_that_is_too_old_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("tensorrt")
    old.__dict__["__version__"] = "8.6.1"
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    assert find_backend().name == "tensorrt_rtx"
    with pytest.raises(EngineError, match=r"^TensorRT 8\.6\.1 is too old, 10 or later is needed;"):
        find_backend("tensorrt")


@pytest.mark.usefixtures("without")
def test_with_none_installed_it_says_what_to_install() -> None:
    with pytest.raises(EngineError) as raised:
        find_backend()
    assert str(raised.value) == (
        "no TensorRT is installed; pip install 'trtfuse[rtx]' gets one that builds engines "
        "without a GPU, pip install 'trtfuse[tensorrt]' the full one"
    )


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize(("name", "extra"), [("tensorrt", "tensorrt"), ("tensorrt_rtx", "rtx")])
def test_one_that_is_not_installed_by_name(name: str, extra: str) -> None:
    with pytest.raises(EngineError) as raised:
        find_backend(name)
    assert str(raised.value) == (
        f"{PACKAGES[name][0]} (package '{name}') is not installed; "
        f"pip install 'trtfuse[{extra}]' installs it"
    )


def test_a_package_whose_libraries_are_missing(
    monkeypatch: pytest.MonkeyPatch, without: None
) -> None:
    class Broken(_Nothing):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "tensorrt_rtx":
                raise OSError("libtensorrt_rtx.so.1: cannot open shared object file")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(EngineError, match=r"'tensorrt_rtx' cannot be loaded: libtensorrt_rtx\.so"):
        find_backend()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tensorrt-rtx", "did you mean 'tensorrt_rtx'?"),
        ("cuda", "choose from tensorrt, tensorrt_rtx"),
    ],
)
def test_an_unknown_backend(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        find_backend(name)
    assert str(raised.value) == f"there is no backend '{name}'; {hint}"


def test_an_unknown_target() -> None:
    with pytest.raises(UsageError, match=r"cannot build for compute capability '9\.0'; it knows "):
        find_backend("tensorrt_rtx").chosen(["8.6", "9.0"])
