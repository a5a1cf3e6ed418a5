"""Times the station's network beside others:

    speed.py STATION MODEL [--float MODEL] [--rounds N] [--frames N] [--threads 1,2] [--rten]

STATION is a built nuclei-station, MODEL a model file that it runs. Its own kernels, those of
tract, ONNX Runtime and OpenCV's DNN take turns on the same tile with the same number of threads,
so that what else the machine does disturbs all alike. Prints the medians over the rounds: of the
fastest tile of a round, and of the median CPU time of a tile, all threads together; and both as
ratios to ONNX Runtime. OpenCV cannot read weights in bytes and gets them as floats.

With --float, MODEL computes in bytes and the other one is the same network with float activations:
ONNX Runtime then runs MODEL, and the form in bytes that its own tool makes of the other (QDQ, weights
by channel), and ratios are to the faster of these; the float network is timed beside them.

--rten adds rten on floats, by a program that cargo builds from benches/rten; rten reads lists of
numbers only as the onnx package writes them, and rewrites the model. Needs onnxruntime,
onnx, opencv-python-headless and numpy from PyPI. Exit code 77: a module is missing.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

try:
    import cv2
    import numpy
    import onnx
    import onnxruntime
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)


# What the station's own bench runs: a tile.
SHAPE = [1, 3, 256, 256]


def station(args: argparse.Namespace, model: str, kernels: str, threads: int) -> tuple[float, float]:
    # tract is many times slower on bytes.
    frames = args.frames if kernels == "own" or not args.float else max(1, args.frames // 10)
    command = [args.station, "bench", "--model", model, "--size", "256x256", "--json"]
    command += ["--frames", str(frames), "--threads", str(threads), "--kernels", kernels]
    printed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return printed["tile_ms"], printed["tile_cpu_ms"]


def tile(shape: list[int]) -> numpy.ndarray:
    count = int(numpy.prod(shape))
    return (numpy.arange(count) % 251 / 250).astype(numpy.float32).reshape(shape)


def measure(run: Callable[[], object], frames: int) -> tuple[float, float]:
    wall, cpu = [], []
    for _ in range(frames):
        start, cpu_start = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    return 1e3 * min(wall), 1e3 * statistics.median(cpu)


def onnx_runtime(model: str, threads: int) -> Callable[[], object]:
    """Runs a tile by ONNX Runtime; warmed up."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    feed = {source.name: tile(source.shape)}
    session.run(None, feed)
    return lambda: session.run(None, feed)


def with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network, with the weights that its DequantizeLinear nodes make."""
    graph = model.graph
    known = {it.name: onnx.numpy_helper.to_array(it) for it in graph.initializer}
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type != "DequantizeLinear" or node.input[0] not in known:
            graph.node.append(node)
            continue
        values, scale, *zero = [known[name].astype(numpy.float32) for name in node.input]
        axis = next((it.i for it in node.attribute if it.name == "axis"), 1)
        each = [-1 if at == axis and scale.ndim else 1 for at in range(values.ndim)]
        centred = values - zero[0].reshape(each) if zero else values
        weights = numpy.ascontiguousarray(centred * scale.reshape(each))
        graph.initializer.append(onnx.numpy_helper.from_array(weights, node.output[0]))
    return model


def in_bytes(model: str, path: str) -> None:
    """Writes what ONNX Runtime's tool makes of a float network: bytes between casts, which it fuses at load."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Tiles(CalibrationDataReader):
        """Speed does not depend on what ranges are taken from."""

        def __init__(self) -> None:
            self.left = iter([{"image": tile(SHAPE)}])

        def get_next(self) -> dict | None:
            return next(self.left, None)

    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(with_float_weights(onnx.load(model)), file.name)
        quantize_static(
            file.name,
            path,
            Tiles(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def open_cv(model: str, shape: list[int]) -> Callable[[], object]:
    """Runs a tile by OpenCV's DNN, on as many threads as cv2.setNumThreads says; warmed up."""
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(with_float_weights(onnx.load(model)), file.name)
        network = cv2.dnn.readNetFromONNX(file.name)
    picture = tile(shape)

    def run() -> object:
        network.setInput(picture)
        return network.forward()

    run()
    return run


def build_rten() -> Path:
    """The program that runs rten, built where the workspace's programs lie; ends with one line where it cannot be."""
    root = Path(__file__).resolve().parent.parent
    target = root / "target" / "rten"
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", str(target)]
    command += ["--manifest-path", str(root / "benches" / "rten" / "Cargo.toml")]
    try:
        built = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"speed.py: rten cannot be built: {error}; install Rust, or leave --rten out")
    if built.returncode != 0:
        errors = (line for line in built.stderr.splitlines() if line.startswith("error"))
        reason = next(errors, f"cargo ended with {built.returncode}")
        sys.exit(f"speed.py: rten cannot be built: {reason}; see {' '.join(command)}, or leave --rten out")
    return target / "release" / "nuclei-rten"


def rten(program: Path, model: str, mean: float, frames: int, threads: int) -> tuple[float, float]:
    """Runs a tile by rten; its maps must have the mean that ONNX Runtime's have."""
    command = [program, model, str(frames), str(threads)]
    printed = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    if abs(printed["mean"] - mean) > 1e-3:
        sys.exit(f"speed.py: rten's maps have a mean of {printed['mean']}, not {mean}: it computes something else")
    return printed["tile_ms"], printed["tile_cpu_ms"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("station")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--float")
    parser.add_argument("--rten", action="store_true")
    args = parser.parse_args()

    rten_program = build_rten() if args.rten else None
    floats = args.float or args.model
    suffix = " float" if args.float else ""
    rewritten, made_bytes = (tempfile.NamedTemporaryFile(suffix=".onnx") for _ in range(2))
    onnx.save(onnx.load(floats), rewritten.name)
    if args.float:
        in_bytes(args.float, made_bytes.name)
    opencv = open_cv(floats, SHAPE)
    print("threads  kernels             fastest ms   CPU ms   fastest/ORT   CPU/ORT")
    for threads in map(int, args.threads.split(",")):
        sessions = {"ONNX Runtime": onnx_runtime(args.model, threads)}
        if args.float:
            sessions["ONNX Runtime QDQ"] = onnx_runtime(made_bytes.name, threads)
            sessions["ONNX Runtime float"] = onnx_runtime(args.float, threads)
        cv2.setNumThreads(threads)
        contenders = {
            "own": lambda: station(args, args.model, "own", threads),
            "tract": lambda: station(args, args.model, "tract", threads),
        }
        if args.float:
            contenders["own float"] = lambda: station(args, args.float, "own", threads)
        for name, session in sessions.items():
            contenders[name] = lambda session=session: measure(session, args.frames)
        contenders[f"OpenCV{suffix}"] = lambda: measure(opencv, args.frames)
        if rten_program:
            maps = next(reversed(sessions.values()))()
            mean = float(numpy.mean(maps[0], dtype=numpy.float64))
            contenders[f"rten{suffix}"] = lambda: rten(rten_program, rewritten.name, mean, args.frames, threads)
        rounds = {name: [] for name in contenders}
        for _ in range(args.rounds):
            for name, contender in contenders.items():
                rounds[name].append(contender())
        medians = {
            name: [statistics.median(column) for column in zip(*measures)]
            for name, measures in rounds.items()
        }
        reference = min(medians["ONNX Runtime"], medians.get("ONNX Runtime QDQ", medians["ONNX Runtime"]))
        for name, (fastest, cpu) in medians.items():
            ratios = f"{fastest / reference[0]:14.2f}{cpu / reference[1]:10.2f}"
            print(f"{threads:7}  {name:18}{fastest:12.2f}{cpu:9.2f}{ratios}", flush=True)
        del sessions


if __name__ == "__main__":
    main()
