# SPDX-License-Identifier: Apache-2.0
"""Tables as pandas DataFrames: nullable types, NA for what is unknown, integers exact.

pandas' own guess takes a column with nulls for floats, which round from 2**53 on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.tables import Table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_INT64 = range(-(1 << 63), 1 << 63)
_UINT64 = range(1 << 64)


def frame_of(table: Table) -> pd.DataFrame:
    """A table of a report, with all its rows and columns."""
    import pandas as pd

    columns = {
        name: [pd.NA if row[name] is None else row[name] for row in table.rows] for name in table.names
    }
    return pd.DataFrame({name: pd.array(values, dtype=_dtype(values)) for name, values in columns.items()})


def frame_of_arrow(table: pa.Table) -> pd.DataFrame:
    """What DuckDB answered."""
    frame: pd.DataFrame = _plain(table).to_pandas(types_mapper=_mapped)
    return frame


def _dtype(values: list[Any]) -> Any:
    """The nullable type that holds these values; "object" where there is none."""
    import pandas as pd

    known = [value for value in values if value is not pd.NA]
    types = {type(value) for value in known}
    if types == {int}:
        if all(value in _INT64 for value in known):
            return "Int64"
        return "UInt64" if all(value in _UINT64 for value in known) else "object"
    if types and types <= {int, float}:
        return "Float64"
    return {frozenset({bool}): "boolean", frozenset({str}): "string"}.get(frozenset(types), "object")


def _plain(table: pa.Table) -> pa.Table:
    """The same without decimals, where their values fit: DuckDB sums BIGINT as HUGEINT, which Arrow lacks."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        if not pa.types.is_decimal(field.type):
            continue
        for type_ in (pa.int64(), pa.uint64()) if field.type.scale == 0 else (pa.float64(),):
            try:
                table = table.set_column(at, field.name, table.column(at).cast(type_))
            except pa.ArrowInvalid:
                continue
            break
    return table


def _mapped(type_: pa.DataType) -> Any:
    """The nullable type of a column; None where pandas has none."""
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_dictionary(type_) and pa.types.is_string(type_.value_type):
        return pd.StringDtype()
    return _nullable().get(type_)


def _nullable() -> dict[pa.DataType, Any]:
    import pandas as pd
    import pyarrow as pa

    return {
        pa.bool_(): pd.BooleanDtype(),
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
        pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
        pa.float32(): pd.Float32Dtype(),
        pa.float64(): pd.Float64Dtype(),
        pa.string(): pd.StringDtype(),
        pa.large_string(): pd.StringDtype(),
    }
