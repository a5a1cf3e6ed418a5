"""Reads exports back with the readers of others: exports.py DIR

DIR is what `nuclei-host convert` wrote with every format but overlay. The TIFF label images are the
reference; every other file must give the same nuclei with the same pixels. Where DIR holds frames.parquet, it is what
became of a recording: Parquet and CSV must hold the same. Prints what was read as one line of JSON. Exit code 77: a
module is missing.
"""

import contextlib
import csv
import io
import json
import pathlib
import sys

try:
    import numpy
    import pyarrow
    import pyarrow.parquet
    import roifile
    import shapely
    import tifffile
    from pycocotools.coco import COCO
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)


def areas_of(labels) -> dict[int, int]:
    values, counts = numpy.unique(labels[labels > 0], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist()))


def check(what: str, found, expected) -> None:
    if found != expected:
        sys.exit(f"{what}: {found} read, {expected} expected")


def check_imagej(path: pathlib.Path, areas: dict[int, int]) -> int:
    if not areas:
        return 0
    regions = roifile.roiread(path)
    regions = regions if isinstance(regions, list) else [regions]
    found, composites = {}, 0
    for region in regions:
        rings = region.coordinates(multi=True)
        composites += region.composite
        signed = 0.0
        for ring in rings:
            x, y = numpy.asarray(ring, dtype=float).T
            signed += (x * numpy.roll(y, -1) - numpy.roll(x, -1) * y).sum() / 2
        found[int(region.name.removeprefix("nucleus-").removesuffix(".roi"))] = round(signed)
    check(str(path), found, areas)
    return composites


def check_geojson(path: pathlib.Path, labels, areas: dict[int, int]) -> None:
    collection = json.loads(path.read_text())
    check(f"{path}: type", collection["type"], "FeatureCollection")
    found = {}
    for feature in collection["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        properties = feature["properties"]
        if not shape.is_valid:
            sys.exit(f"{path}: {shapely.is_valid_reason(shape)}")
        label = int(properties["name"])
        check(f"{path}: measurement", properties["measurements"]["Area px^2"], shape.area)
        ys, xs = numpy.nonzero(labels == label)
        inside = shapely.contains_xy(shape, xs + 0.5, ys + 0.5)
        check(f"{path}: pixels of nucleus {label} within", int(inside.sum()), len(xs))
        found[label] = round(shape.area)
    check(str(path), found, areas)


def check_coco(path: pathlib.Path, images: dict[str, numpy.ndarray]) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    check(f"{path}: images", len(coco.imgs), len(images))
    holed = 0
    for image in coco.imgs.values():
        labels = images[pathlib.Path(image["file_name"]).stem]
        check(f"{path}: size", (image["height"], image["width"]), labels.shape)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        found = {annotation["label"]: annotation["area"] for annotation in annotations}
        check(f"{path}: {image['file_name']}", found, areas_of(labels))
        for annotation in annotations:
            holed += isinstance(annotation["segmentation"], dict)
            mask = coco.annToMask(annotation).astype(bool)
            differing = int((mask != (labels == annotation["label"])).sum())
            check(f"{path}: pixels off in {annotation['label']}", differing, 0)
            ys, xs = numpy.nonzero(mask)
            box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
            check(f"{path}: bbox", annotation["bbox"], [int(side) for side in box])
    return holed


def check_kaggle(path: pathlib.Path, images: dict[str, numpy.ndarray]) -> None:
    found: dict[str, list[int]] = {name: [] for name in images}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            labels = images[row["ImageId"]]
            numbers = [int(word) for word in row["EncodedPixels"].split()]
            mask = numpy.zeros(labels.size, dtype=bool)
            for first, length in zip(numbers[::2], numbers[1::2]):
                mask[first - 1 : first - 1 + length] = True
            mask = mask.reshape(labels.shape, order="F")
            if numbers:
                (label,) = numpy.unique(labels[mask])
                check(f"{path}: pixels of {label}", int(mask.sum()), int((labels == label).sum()))
                found[row["ImageId"]].append(int(label))
    check(str(path), found, {name: list(areas_of(labels)) for name, labels in images.items()})


def check_objects(path: pathlib.Path, images: dict[str, numpy.ndarray]) -> list[str]:
    found: dict[str, dict[int, int]] = {name: {} for name in images}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            found[row["image"]][int(row["label"])] = int(row["area_px"])
    check(str(path), found, {name: areas_of(labels) for name, labels in images.items()})
    return list(reader.fieldnames or [])


def check_parquet(path: pathlib.Path, beside: pathlib.Path) -> pyarrow.Table:
    """Every cell of the table against the CSV's."""
    table = pyarrow.parquet.read_table(path)
    with beside.open(newline="") as file:
        rows = list(csv.DictReader(file))
    check(f"{path}: rows", table.num_rows, len(rows))
    for name in table.column_names:
        values = table.column(name).to_pylist()
        is_time = pyarrow.types.is_timestamp(table.schema.field(name).type)
        for at, (value, row) in enumerate(zip(values, rows)):
            text = row[f"{name}_unix_ms" if is_time else name]
            where = f"{path}: {name} of row {at}"
            if value is None:
                check(where, "", text)
            elif is_time:
                check(where, round(value.timestamp() * 1000), int(text))
            elif isinstance(value, bool):
                check(where, "yes" if value else "no", text)
            elif isinstance(value, float):
                check(where, abs(value - float(text)) <= 0.01 * max(1.0, abs(value)), True)
            else:
                check(where, str(value), text)
    return table


def check_recording(folder: pathlib.Path) -> None:
    table = check_parquet(folder / "frames.parquet", folder / "frames.csv")
    counts = table.column("count").to_pylist()
    print(json.dumps({"frames": len(counts), "counts": counts, "columns": table.column_names}))


def main(folder: pathlib.Path) -> None:
    if (folder / "frames.parquet").exists():
        check_recording(folder)
        return
    images = {
        path.name.removesuffix("_masks.tif"): tifffile.imread(path)
        for path in sorted((folder / "tiff").glob("*.tif"))
    }
    composites = 0
    for name, labels in images.items():
        check(f"{name}: type", labels.dtype, numpy.dtype("uint16"))
        areas = areas_of(labels)
        composites += check_imagej(folder / "imagej" / f"{name}_RoiSet.zip", areas)
        check_geojson(folder / "geojson" / f"{name}.geojson", labels, areas)
    holed = check_coco(folder / "coco.json", images)
    check_kaggle(folder / "run_lengths.csv", images)
    columns = check_objects(folder / "objects.csv", images)
    check_parquet(folder / "objects.parquet", folder / "objects.csv")
    all_areas = [area for labels in images.values() for area in areas_of(labels).values()]
    print(
        json.dumps(
            {
                "pictures": len(images),
                "nuclei": len(all_areas),
                "pixels": sum(all_areas),
                "composites": composites,
                "run_lengths_in_coco": holed,
                "columns": columns,
                "versions": {
                    module.__name__: module.__version__
                    for module in (pyarrow, roifile, shapely, tifffile)
                },
            }
        )
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
