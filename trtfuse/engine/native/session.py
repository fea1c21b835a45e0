"""One build: from the bytes of a model to a plan, or to what TensorRT says against it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .cancel import Cancel, monitor
from .log import Log, logged

#: Told what happens: "supported" and the names of operators that the parser knows, "progress" and
#: (phase, steps done, steps in all), or "messages" and a list of (severity, text).
Tell = Callable[[str, Any], None]


@dataclass(frozen=True)
class Job:
    """What to build.

    Attributes:
        model: the serialized model.
        where: what to call it in messages, like `'model.onnx'`.
        title: what to call the backend there.
        folder: where the external data of the model is; None if there is none or no telling.
        operators: names of operators of which the parser is asked whether it knows them.
        declared: the sizes of each input, those that vary as text.
        given: for inputs that are given a shape: the smallest, best and largest.
        capabilities: members of `ComputeCapability` to build for; empty for the default.
        workspace: the most scratch memory that a layer may use, in bytes; None for no limit.
        level: the optimization level; None for the default.
        cache: the timing cache so far; None to use none.
        plugins: whether the package has plugins to load.
        parse_only: whether the parser alone is asked, and nothing built.
    """

    model: bytes = field(repr=False)
    where: str
    title: str
    folder: str | None = None
    operators: tuple[str, ...] = ()
    declared: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    given: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    workspace: int | None = None
    level: int | None = None
    cache: bytes | None = field(default=None, repr=False)
    plugins: bool = False
    parse_only: bool = False


@dataclass(frozen=True)
class ParserError:
    """What the parser says against a model: in words, and of which node.

    Attributes:
        text: its own words.
        index: the position of the node in the graph or function.
        operator, name: of the node; empty where the trouble is with no node.
        functions: the calls around the node, the innermost last.
    """

    text: str
    index: int
    operator: str
    name: str
    functions: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a build.

    Attributes:
        plan: the engine; None if the parser did not take the model or the builder failed.
        seconds: how long the builder took.
        parsed: whether the parser took the model.
        errors: what the parser said against it.
        cache: the timing cache afterwards, if one was used.
    """

    plan: bytes | None = field(repr=False)
    seconds: float = 0.0
    parsed: bool = True
    errors: tuple[ParserError, ...] = ()
    cache: bytes | None = field(default=None, repr=False)


class RefusedError(Exception):
    """Something that was asked for fits neither the model nor the backend.

    Attributes:
        usage: whether an argument is to blame, and not the model.
    """

    def __init__(self, message: str, *, usage: bool = True) -> None:
        super().__init__(message)
        self.usage = usage


def run(trt: ModuleType, job: Job, log: Log, tell: Tell, cancel: Cancel) -> Outcome:
    """Builds an engine.

    Args:
        trt: `tensorrt` or `tensorrt_rtx`.
        job: what to build.
        log: what TensorRT says goes there.
        tell: told what happens, never from within TensorRT but for "progress".
        cancel: asked at each step of the builder.

    Raises:
        RefusedError: something in the job does not fit.
        BaseException: what `tell` raises.
    """
    with logged(trt, log) as logger:
        # All of these have to live until the build is done.
        builder = _builder(trt, logger, log, job)
        network = builder.create_network(strongly_typed(trt))
        parser = trt.OnnxParser(network, logger)
        known = [name for name in job.operators if parser.supports_operator(name)]
        tell("supported", known)
        taken = parser.parse(job.model, None if job.folder is None else f"{job.folder}/")
        if not taken or parser.num_errors or not network.num_layers:
            errors = [_error(parser.get_error(index)) for index in range(parser.num_errors)]
            return Outcome(None, parsed=False, errors=tuple(errors))
        if job.parse_only:
            return Outcome(None)
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.progress_monitor = monitor(trt, cancel, lambda *step: tell("progress", step))
        _set_shapes(builder, network, config, job)
        _set_options(trt, config, job)
        cancel.stop_if_asked()
        start = time.perf_counter()
        built = builder.build_serialized_network(network, config)
        seconds = time.perf_counter() - start
        cancel.stop_if_asked()
        if built is None:
            return Outcome(None, seconds)
        cache = None if job.cache is None else bytes(config.get_timing_cache().serialize())
        return Outcome(bytes(built), seconds, cache=cache)


def _builder(trt: ModuleType, logger: Any, log: Log, job: Job) -> Any:
    try:
        if job.plugins:
            trt.init_libnvinfer_plugins(logger, "")
        return trt.Builder(logger)
    except (RuntimeError, TypeError) as error:
        # Without a driver, pybind11 has nothing but a null pointer to report.
        reason = log.reason() or " ".join(str(error).split())
        message = f"{job.title} cannot start its builder: {reason}"
        raise RefusedError(message, usage=False) from None


def strongly_typed(trt: ModuleType) -> int:
    """The flags of a network in which each tensor keeps the type that the model gives it."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    # From TensorRT 11 on there is nothing else.
    return 0 if flag is None else 1 << int(flag)


def forget(trt: ModuleType) -> None:
    """Lets TensorRT for RTX forget a build that failed, by one of a single layer.

    A failure for compute capability 7.5 leaves something behind in 1.7.1: the next build of the
    process, whatever its targets, gives another engine, with more kernels.
    """
    with logged(trt, Log()) as logger:
        builder = trt.Builder(logger)
        network = builder.create_network(strongly_typed(trt))
        layer = network.add_identity(network.add_input("x", trt.float32, (1,)))
        network.mark_output(layer.get_output(0))
        builder.build_serialized_network(network, builder.create_builder_config())


def _error(error: Any) -> ParserError:
    return ParserError(
        error.desc(),
        error.node(),
        error.node_operator(),
        error.node_name(),
        tuple(error.local_function_stack()),
    )


def _set_options(trt: ModuleType, config: Any, job: Job) -> None:
    if job.capabilities:
        config.num_compute_capabilities = len(job.capabilities)
        for index, member in enumerate(job.capabilities):
            config.set_compute_capability(getattr(trt.ComputeCapability, member), index)
    if job.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace)
    if job.level is not None:
        config.builder_optimization_level = job.level
    if job.cache is not None:
        cache = config.create_timing_cache(job.cache)
        if cache is None or not config.set_timing_cache(cache, False):
            raise RefusedError("the timing cache is none of this TensorRT and GPU")


def _set_shapes(builder: Any, network: Any, config: Any, job: Job) -> None:
    """Fixes the inputs of a network that have one shape, and makes a profile of the others.

    An input that is itself a shape (one that Reshape reads, say) has values in place of sizes.

    Raises:
        RefusedError: values of a shape are missing, shapes do not fit, or are not taken.
    """
    where, values, profile = job.where, [], None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        name, sizes = tensor.name, job.declared.get(tensor.name, ())
        three = job.given.get(name)
        varies = any(isinstance(size, str) for size in sizes)
        if three is None:
            # Open sizes are told of before; that an input is itself a shape is known only here.
            values += [name] if tensor.is_shape_tensor else []
            continue
        if tensor.is_shape_tensor:
            count = 1
            for size in tensor.shape:
                count *= size
            if any(len(values) != count for values in three):
                raise RefusedError(
                    f"input '{name}' of {where} is itself a shape of {count} values; "
                    f"'{written(three)}' has {len(three[0])}"
                )
        else:
            _check_fit(name, three, sizes, where)
            if three[0] == three[2]:
                if varies:
                    tensor.shape = three[0]
                continue
        profile = profile or builder.create_optimization_profile()
        (profile.set_shape_input if tensor.is_shape_tensor else profile.set_shape)(name, *three)
    if values:
        listed = ", ".join(f"'{name}' (the values of a shape)" for name in values)
        which = f"inputs {listed}" if len(values) > 1 else f"input {listed}"
        name = values[0]
        raise RefusedError(
            f"{where} leaves sizes open: {which}; say what to build for with --shapes "
            f"{name}:SIZES or shapes={{'{name}': ...}}, one shape or smallest, best and largest",
            usage=False,
        )
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise RefusedError(f"{job.title} does not take the shapes of {where} as a profile")


def _check_fit(
    name: str, three: tuple[tuple[int, ...], ...], sizes: tuple[int | str, ...], where: str
) -> None:
    has = f"input '{name}' of {where} is [{', '.join(map(str, sizes))}]"
    if len(three[0]) != len(sizes):
        raise RefusedError(f"{has}, with {len(sizes)} sizes; {len(three[0])} were given")
    for axis, size in enumerate(sizes):
        if isinstance(size, int) and any(shape[axis] != size for shape in three):
            raise RefusedError(f"{has}, with {size} at axis {axis}; {written(three)} does not fit")


def written(three: tuple[tuple[int, ...], ...]) -> str:
    """Shapes as the command line takes them: `1x3x8x8`, or three with `..` between them."""
    parts = ["x".join(map(str, shape)) for shape in three]
    return parts[0] if len(set(parts)) == 1 else "..".join(parts)
