"""Nodes for KNIME: Restore Images, Judge, Read Image Metadata. They run veriscope's own program and hold no science."""

from __future__ import annotations

from pathlib import Path

import knime.extension as knext
import pandas as pd
import veriscope_run

CATEGORY = knext.category(
    path="/community",
    level_id="veriscope",
    name="Veriscope",
    description="Restores fluorescence microscopy images, and says how far to trust the result.",
    icon="icon.png",
)
PROGRAM = "The program veriscope or the folder of its Python environment; empty: the one on the PATH."
PATHS = "Paths of images on this computer: TIFF, OME-TIFF, ImageJ hyperstacks, OME-Zarr, ND2, CZI, LIF."


def _is_string(column: knext.Column) -> bool:
    return column.ktype == knext.string()


def _column(chosen: str | None, schema: knext.Schema) -> str:
    """The column of paths: the chosen one, or the last one of strings."""
    strings = [column.name for column in schema if _is_string(column)]
    if chosen is None and not strings:
        raise knext.InvalidParametersError(
            "The table has no column of paths. Add one, such as from List Files/Folders."
        )
    if chosen is not None and chosen not in strings:
        raise knext.InvalidParametersError(f"The table has no column '{chosen}' of strings. Choose another.")
    return chosen or strings[-1]


def _with(schema: knext.Schema, columns: list[tuple[str, object]]) -> knext.Schema:
    """`schema` with columns added; names that it has already are refused."""
    taken = {column.name for column in schema} & {name for name, _ in columns}
    if taken:
        raise knext.InvalidParametersError(
            f"The table has columns {', '.join(sorted(taken))} already. Rename them first."
        )
    for name, kind in columns:
        schema = schema.append(knext.Column(kind, name))
    return schema


def _added(table: pd.DataFrame, columns: list[tuple[str, object]], rows: list[dict]) -> knext.Table:
    types = {knext.string(): object, knext.double(): "float64", knext.int64(): "int64"}
    for name, kind in columns:
        values = [row.get(name) for row in rows]
        table[name] = pd.Series(values, index=table.index, dtype=next(to for of, to in types.items() if of == kind))
    return knext.Table.from_pandas(table)


@knext.node(
    name="Restore Images", node_type=knext.NodeType.MANIPULATOR, icon_path="icon.png", category=CATEGORY,
)  # fmt: skip
@knext.input_table(name="Images", description="A row for each image, with its path.")
@knext.output_table(
    name="Restored images", description="The same, with paths of the results, expected errors and verdicts."
)
class RestoreImages(knext.PythonNode):
    """Restores images with a trained model.

    Every image is restored by a model of veriscope and written to a folder as OME-TIFF, with axes, voxel size and time
    step kept. Each comes with the error to expect and a verdict: whether it is like the images of the training. Images
    that cannot be restored have a reason in the column Problem, and the others are restored all the same.
    """

    column = knext.ColumnParameter("Paths", PATHS, port_index=0, column_filter=_is_string)
    model = knext.StringParameter("Model", "The folder that training wrote.", "")
    folder = knext.StringParameter("Folder for results", "It is made where it does not exist.", "")
    scale = knext.BoolParameter("Predicted scale", "Write how far off each pixel is to be expected.", False)
    interval = knext.DoubleParameter(
        "Interval (%)",
        "Write the interval that holds the ground truth so often; 0: none.",
        0.0,
        min_value=0.0,
        max_value=99.9,
    )
    mask = knext.BoolParameter("Trust mask", "Write where the image is like those of the training.", False)
    overwrite = knext.BoolParameter("Overwrite", "Replace results that exist already.", False)
    memory = knext.StringParameter("Memory", "To use at most, such as 4GB; empty: automatic.", "", is_advanced=True)
    program = knext.StringParameter("Program", PROGRAM, "", is_advanced=True)

    def _columns(self) -> list[tuple[str, object]]:
        files = [
            "Restored",
            *["Scale"] * self.scale,
            *["Lower", "Upper"] * (self.interval > 0),
            *["Trust mask"] * self.mask,
        ]
        figures = [("Expected NRMSE", knext.double()), ("Level", knext.double())]
        words = [(name, knext.string()) for name in ("Verdict", "Problem")]
        return [*((name, knext.string()) for name in files), *figures, *words]

    def configure(self, context: knext.ConfigurationContext, schema: knext.Schema) -> knext.Schema:
        _column(self.column, schema)
        for value, name in ((self.model, "Model"), (self.folder, "Folder for results")):
            if not value.strip():
                raise knext.InvalidParametersError(f"{name} is missing. Open the node and choose one.")
        return _with(schema, self._columns())

    def execute(self, context: knext.ExecutionContext, images: knext.Table) -> knext.Table:
        table = images.to_pandas()
        paths = [str(Path(path)) for path in table[_column(self.column, images.schema)]]
        more = ["--model", self.model, "--out", self.folder, *["--scale"] * self.scale, *["--trust-mask"] * self.mask]
        more += ["--interval", f"{self.interval / 100:g}"] * (self.interval > 0) + ["--overwrite"] * self.overwrite
        more += ["--memory", self.memory] * bool(self.memory.strip())
        known: dict[str, dict] = {}
        every = veriscope_run.batches(paths)
        for number, batch in enumerate(every):
            share = lambda done, at=number, of=batch: (at + min(done / len(of), 1.0)) / len(every)  # noqa: E731
            try:
                heard = veriscope_run.run(self.program, ["restore", *batch, *more], context, share)
            except RuntimeError as problem:
                if len(batch) > 1 or len(paths) == 1 or context.is_canceled():
                    raise
                heard = [{"event": "error", "source": batch[0], "text": str(problem)}]
            for event in heard:
                if event.get("source") is not None:
                    _learn(known.setdefault(event["source"], {}), event)
        failed = [path for path in paths if "Problem" in known.get(path, {})]
        if failed:
            context.set_warning(f"{len(failed)} of {len(paths)} images could not be restored: see the column Problem.")
        return _added(table, self._columns(), [known.get(path, {}) for path in paths])


RESULTS = {"mean": "Restored", "scale": "Scale", "lower": "Lower", "upper": "Upper", "trust_mask": "Trust mask"}


def _learn(row: dict, event: dict) -> None:
    """What an event says of its image."""
    if event["event"] == "result" and event["kind"] in RESULTS:
        row[RESULTS[event["kind"]]] = event["path"]
    elif event["event"] == "verdict":
        row["Verdict"] = event["text"]
        row["Expected NRMSE"] = (event["expected"] or {}).get("nrmse")
        row["Level"] = (event["verdict"] or {}).get("level")
    elif event["event"] == "error":
        row["Problem"] = event["text"]


@knext.node(name="Judge", node_type=knext.NodeType.SOURCE, icon_path="icon.png", category=CATEGORY)
@knext.output_table(name="Scores", description="A row for each image, channel and method: NRMSE, PSNR, SSIM.")
class Judge(knext.PythonNode):
    """Compares what a model restores with the ground truth.

    NRMSE, PSNR and SSIM of every image, for the input and for the restoration, and how often the 90 % interval holds
    the ground truth. Use pairs that were not used in training.
    """

    low = knext.StringParameter("Low", "Folder of low-light images, or one file.", "")
    high = knext.StringParameter("High", "The same fields in good quality, with the same names.", "")
    model = knext.StringParameter("Model", "The folder that training wrote.", "")
    axes = knext.StringParameter("Axes", "Of the files, such as ZYX, where they do not say so.", "")
    report = knext.StringParameter("Report", "Page with pictures to write, report.html; empty: none.", "")
    program = knext.StringParameter("Program", PROGRAM, "", is_advanced=True)

    COLUMNS = (
        ("Image", knext.string(), "image"), ("Method", knext.string(), "method"),
        ("Channel", knext.double(), "channel"),
        ("NRMSE", knext.double(), "nrmse"), ("PSNR", knext.double(), "psnr"), ("SSIM", knext.double(), "ssim"),
        ("In 90 % interval", knext.double(), "coverage"), ("Expected NRMSE", knext.double(), "expected"),
    )  # fmt: skip

    def configure(self, context: knext.ConfigurationContext) -> knext.Schema:
        for value, name in ((self.low, "Low"), (self.high, "High"), (self.model, "Model")):
            if not value.strip():
                raise knext.InvalidParametersError(f"{name} is missing. Open the node and choose one.")
        return knext.Schema.from_columns([knext.Column(kind, name) for name, kind, _ in self.COLUMNS])

    def execute(self, context: knext.ExecutionContext) -> knext.Table:
        words = ["judge", self.low, self.high, "--model", self.model]
        words += ["--axes", self.axes] * bool(self.axes.strip()) + ["--report", self.report] * bool(self.report.strip())
        heard = veriscope_run.run(self.program, words, context)
        rows = next(event for event in heard if event["event"] == "figures")["figures"]["rows"]
        for row in rows:
            row["expected"] = (row["expected"] or {}).get("nrmse")
        columns = [(name, kind) for name, kind, _ in self.COLUMNS]
        named = [{name: row[key] for name, _, key in self.COLUMNS} for row in rows]
        return _added(pd.DataFrame(index=[f"Row{number}" for number in range(len(rows))]), columns, named)


@knext.node(name="Read Image Metadata", node_type=knext.NodeType.MANIPULATOR, icon_path="icon.png", category=CATEGORY)
@knext.input_table(name="Images", description="A row for each image, with its path.")
@knext.output_table(
    name="Metadata", description="The same, with axes, sizes, type, voxel size, time step and channels."
)
class ReadImageMetadata(knext.PythonNode):
    """Reads what image files say of themselves, without their pixels.

    Axes, sizes, type of the pixels, voxel size in µm, time step in s and names of channels. What a file does not say is
    a missing value. Files that are no images have a reason in the column Problem.
    """

    column = knext.ColumnParameter("Paths", PATHS, port_index=0, column_filter=_is_string)
    program = knext.StringParameter("Program", PROGRAM, "", is_advanced=True)

    COLUMNS = (
        ("Axes", knext.string()), ("Type", knext.string()),
        *((f"Size {letter}", knext.double()) for letter in "XYZCT"),
        *((f"Voxel {letter} (µm)", knext.double()) for letter in "XYZ"),
        ("Time step (s)", knext.double()), ("Channels", knext.string()), ("Problem", knext.string()),
    )  # fmt: skip

    def configure(self, context: knext.ConfigurationContext, schema: knext.Schema) -> knext.Schema:
        _column(self.column, schema)
        return _with(schema, list(self.COLUMNS))

    def execute(self, context: knext.ExecutionContext, images: knext.Table) -> knext.Table:
        table = images.to_pandas()
        rows = []
        for number, path in enumerate(table[_column(self.column, images.schema)]):
            context.set_progress(number / len(table), str(path))
            try:
                heard = veriscope_run.run(self.program, ["info", str(path), "--quick"], context)
                rows.append(_metadata(next(event["image"] for event in heard if event["event"] == "image")))
            except (RuntimeError, StopIteration) as problem:
                if context.is_canceled():
                    raise
                rows.append({"Problem": str(problem) or f"{path} is a model, not an image."})
        return _added(table, list(self.COLUMNS), rows)


def _metadata(image: dict) -> dict:
    sizes = dict(zip(image["axes"], image["shape"], strict=True))
    names = [channel["name"] for channel in image["channels"] if channel["name"]]
    return {
        "Axes": image["axes"], "Type": image["type"],
        **{f"Size {letter}": float(sizes.get(letter, 1)) for letter in "XYZCT"},
        **{f"Voxel {letter} (µm)": image["voxel_size"].get(letter) for letter in "XYZ"},
        "Time step (s)": image["time_step"], "Channels": ", ".join(names) or None,
    }  # fmt: skip
