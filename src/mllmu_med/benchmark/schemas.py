"""The columns of a benchmark's parquet files."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING

from mllmu_med.benchmark.sample import Node, Probe, Sample

if TYPE_CHECKING:
    import pyarrow

FORMAT = "mllmu-med/benchmark/2"
"""Written into the manifest; raised whenever an older reader would misread a folder."""


def sample_schema() -> pyarrow.Schema:
    """Columns of the sample files: the fields of Sample, in their order."""
    import pyarrow as pa

    text = pa.string()
    span = pa.struct(
        [("phi_class", text), ("value", text), ("start", pa.int32()), ("end", pa.int32()), ("space", pa.float64())]
    )
    special = {
        "repetitions": pa.int32(),
        "spans": pa.list_(span),
        "phrasings": pa.list_(text),
        "probes": pa.list_(pa.struct([(field.name, text) for field in fields(Probe)])),
        "accepted": pa.list_(text),
        "hierarchy": pa.list_(pa.struct([(field.name, text) for field in fields(Node)])),
        "regions": pa.list_(
            pa.struct([("phi_class", text), *((side, pa.int32()) for side in ("x0", "y0", "x1", "y1"))])
        ),
    }
    return pa.schema([(field.name, special.get(field.name, text)) for field in fields(Sample)])


def image_schema() -> pyarrow.Schema:
    """Columns of the image files, with the metadata by which ``datasets`` decodes ``image`` into a picture."""
    import pyarrow as pa

    features = {
        "image_id": {"dtype": "string", "_type": "Value"},
        "image": {"_type": "Image"},
        "width": {"dtype": "int32", "_type": "Value"},
        "height": {"dtype": "int32", "_type": "Value"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [("image_id", pa.string()), ("image", image), ("width", pa.int32()), ("height", pa.int32())]
    metadata = {"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)}
    return pa.schema(columns, metadata=metadata)


def ledger_schema() -> pyarrow.Schema:
    """Columns of the ledger; see ``ledger.ledger_rows``."""
    import pyarrow as pa

    text = pa.string()
    names = ("fact_id", "scenario", "role", "group", "patient_id", "rule_id", "error_type", "severity",
             "wrong_answer", "correct_answer")  # fmt: skip
    lists = ("forms", "sample_ids", "record_ids", "image_ids", "phi_classes", "values")
    span = pa.struct([("sample_id", text), ("phi_class", text), ("start", pa.int32()), ("end", pa.int32())])
    return pa.schema(
        [(name, text) for name in names]
        + [(name, pa.list_(text)) for name in lists]
        + [("hierarchy", pa.list_(pa.struct([(field.name, text) for field in fields(Node)])))]
        + [("spaces", pa.list_(pa.float64())), ("spans", pa.list_(span)), ("repetitions", pa.int32())]
    )
