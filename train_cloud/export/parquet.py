"""A run's experience as one Parquet file: a row for each step, as they were driven, stream after stream.

Columns of an observation and an action that have names hold their values in their units (the number that the policy
sees, times the scale in the column's metadata); others are obs_0, obs_1, ... and action_0, ..., as the policy sees
them. Where `led_to` is not null it is the observation, as the policy sees it, that the row's step led to: at the end
of each run of steps, whose next row does not tell it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from experience.batches import DEMONSTRATION, AnyArray
from experience.environment import Environment
from experience.spaces import SpaceSpec
from train_cloud.export.experience import Driven

ROW_GROUP_STEPS = 65_536
ROW_GROUP_BYTES = 32 * 2**20
"""Of observations and actions; a row group ends with whichever comes first."""
MOST_COLUMNS = 512
"""An observation of more numbers, as an image, is one column of lists."""
_BEFORE = {
    "stream": pa.string(),
    "bridge": pa.string(),
    "number": pa.int64(),
    "car": pa.int32(),
    "step": pa.int64(),
}
_BEHIND = {
    "reward": pa.float32(),
    "terminated": pa.bool_(),
    "truncated": pa.bool_(),
    "policy_version": pa.uint32(),
    "demonstration": pa.bool_(),
    "action_age": pa.float32(),
    "off_period": pa.bool_(),
}


def write_parquet(file: Path, run_id: str, environment: Environment, driven: Iterable[Driven]) -> int:
    """Write the file; how many steps it has. Raises OSError."""
    sides = {"obs": environment.spaces.observation, "action": environment.spaces.action}
    fields = [pa.field(name, kind) for name, kind in _BEFORE.items()]
    fields += [one for side, spec in sides.items() for one in _fields(side, spec)]
    fields += [pa.field(name, kind) for name, kind in _BEHIND.items()]
    fields += [pa.field("led_to", pa.list_(_number(sides["obs"])))]
    about = {"run_id": run_id, "environment": environment.name, "signature": environment.signature}
    schema = pa.schema(fields, about)
    row_bytes = sum(spec.column.size * np.dtype(spec.column.dtype).itemsize for spec in sides.values())
    at_once = max(1, min(ROW_GROUP_STEPS, ROW_GROUP_BYTES // row_bytes))
    tables: list[Any] = []
    total = waiting = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for one in driven:
            tables.append(_table(schema, sides, one))
            total, waiting = total + one.batch.steps, waiting + one.batch.steps
            if waiting >= at_once:
                writer.write_table(pa.concat_tables(tables), row_group_size=at_once)
                tables, waiting = [], 0
        if tables:
            writer.write_table(pa.concat_tables(tables), row_group_size=at_once)
    return total


def _number(spec: SpaceSpec) -> Any:
    return pa.from_numpy_dtype(np.dtype(spec.column.dtype))


def _fields(side: str, spec: SpaceSpec) -> list[Any]:
    """The columns of an observation or an action."""
    kind, size = _number(spec), spec.column.size
    if size > MOST_COLUMNS:
        return [pa.field(side, pa.list_(kind, size))]
    if not spec.channels:
        return [pa.field(f"{side}_{place}", kind) for place in range(size)]
    prefix = "" if side == "obs" else f"{side}_"
    return [
        pa.field(prefix + channel.name, kind, metadata={"unit": channel.unit, "scale": repr(channel.scale)})
        for channel in spec.channels
    ]


def _table(schema: Any, sides: dict[str, SpaceSpec], one: Driven) -> Any:
    """The batch's steps as rows."""
    batch, steps = one.batch, one.batch.steps
    lengths = batch.run_lengths
    within_run = np.arange(steps) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    columns: list[Any] = [pa.repeat(one.stream, steps), pa.repeat(one.bridge, steps)]
    columns += [
        pa.array(values)
        for values in (
            np.full(steps, one.number),
            np.repeat(batch.run_cars, lengths),
            np.repeat(batch.run_first_steps, lengths) + within_run,
        )
    ]
    columns += _columns(sides["obs"], batch.current_observations())
    columns += _columns(sides["action"], batch.actions)
    columns += [
        pa.array(values)
        for values in (
            batch.rewards,
            batch.terminated,
            batch.truncated,
            batch.policy_versions,
            batch.policy_versions == DEMONSTRATION,
            batch.action_ages,
            batch.off_period,
        )
    ]
    return pa.table([*columns, _led_to(one, schema.field("led_to").type)], schema=schema)


def _columns(spec: SpaceSpec, rows: AnyArray) -> list[Any]:
    if rows.shape[1] > MOST_COLUMNS:
        return [pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])]
    scales = [channel.scale for channel in spec.channels] or [1.0] * rows.shape[1]
    return [
        pa.array(np.ascontiguousarray(column) if scale == 1.0 else column * rows.dtype.type(scale))
        for column, scale in zip(rows.T, scales, strict=True)
    ]


def _led_to(one: Driven, kind: Any) -> Any:
    """What the last step of each run led to; null at the others."""
    batch = one.batch
    ends = np.cumsum(batch.run_lengths)
    lasts = batch.observations[ends + np.arange(len(ends))]
    sizes, nulls = np.zeros(batch.steps, np.int32), np.ones(batch.steps, np.bool_)
    sizes[ends - 1], nulls[ends - 1] = lasts.shape[1], False
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(lasts.ravel()), type=kind, mask=pa.array(nulls))
