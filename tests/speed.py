"""Times the station's network beside ONNX Runtime: speed.py STATION MODEL [--rounds N] [--frames N] [--threads 1,2]

STATION is a built nuclei-station, MODEL a model file that it runs. Its own kernels, those of
tract, and ONNX Runtime take turns on the same tile with the same number of threads, so that what
else the machine does disturbs all alike. Prints the medians over the rounds: of the fastest tile
of a round, and of the median CPU time of a tile, all threads together; and both as ratios to ONNX
Runtime. Needs onnxruntime and numpy from PyPI. Exit code 77: a module is missing.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

try:
    import numpy
    import onnxruntime
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)


def station(args: argparse.Namespace, kernels: str, threads: int) -> tuple[float, float]:
    command = [args.station, "bench", "--model", args.model, "--size", "256x256", "--json"]
    command += ["--frames", str(args.frames), "--threads", str(threads), "--kernels", kernels]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return told["tile_ms"], told["tile_cpu_ms"]


class OnnxRuntime:
    """A session for a number of threads, warmed up."""

    def __init__(self, model: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        (source,) = self.session.get_inputs()
        count = int(numpy.prod(source.shape))
        tile = (numpy.arange(count) % 251 / 250).astype(numpy.float32).reshape(source.shape)
        self.feed = {source.name: tile}
        self.session.run(None, self.feed)

    def measure(self, frames: int) -> tuple[float, float]:
        wall, cpu = [], []
        for _ in range(frames):
            start, cpu_start = time.perf_counter(), time.process_time()
            self.session.run(None, self.feed)
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - cpu_start)
        return 1e3 * min(wall), 1e3 * statistics.median(cpu)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("station")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--threads", default="1,2")
    args = parser.parse_args()

    print("threads  kernels        fastest ms   CPU ms   fastest/ORT   CPU/ORT")
    for threads in map(int, args.threads.split(",")):
        runtime = OnnxRuntime(args.model, threads)
        contenders = {
            "own": lambda: station(args, "own", threads),
            "tract": lambda: station(args, "tract", threads),
            "ONNX Runtime": lambda: runtime.measure(args.frames),
        }
        rounds = {name: [] for name in contenders}
        for _ in range(args.rounds):
            for name, measure in contenders.items():
                rounds[name].append(measure())
        medians = {
            name: [statistics.median(column) for column in zip(*measures)]
            for name, measures in rounds.items()
        }
        reference = medians["ONNX Runtime"]
        for name, (fastest, cpu) in medians.items():
            ratios = f"{fastest / reference[0]:14.2f}{cpu / reference[1]:10.2f}"
            print(f"{threads:7}  {name:13}{fastest:12.2f}{cpu:9.2f}{ratios}", flush=True)
        del runtime


if __name__ == "__main__":
    main()
