"""TensorBoard's messages for what is known of several runs, made with its own protocol buffers and without torch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from grng.training.listeners.event_file import EVENT_VERSION


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of the Custom Scalars page.

    Attributes:
        title: Above it.
        tags: Regular expressions of tags, for lines; or mean, low and high of a margin chart.
        margin: Whether it is one.
    """

    title: str
    tags: tuple[str, ...]
    margin: bool = False


class EventBytes:
    """The content of an event file, in memory, so that it can be written in one piece.

    Args:
        begun: Seconds since 1970 that the file's times count from.
    """

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._buffer = io.BytesIO()
        self._records = RecordWriter(self._buffer)
        self._write(event_pb2.Event(file_version=EVENT_VERSION), 0.0)
        # A TensorBoard that has read an earlier file of the same run drops what it had.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(event_pb2.Event(step=0, session_log=start), 0.0)

    def scalars(self, values: Mapping[str, float], step: int, elapsed_s: float) -> None:
        """Add numbers by tag."""
        summary = summary_pb2.Summary()
        for tag, value in values.items():
            summary.value.add(tag=tag, simple_value=value)
        self._write(event_pb2.Event(step=step, summary=summary), elapsed_s)

    def text(self, tag: str, markdown: str) -> None:
        """Add a text in Markdown."""
        metadata = text_metadata.create_summary_metadata(display_name=tag, description="")
        self._tensor(tag, markdown.encode(), metadata)

    def layout(self, categories: Mapping[str, Sequence[Chart]]) -> None:
        """Add the layout of the Custom Scalars page: its charts by category."""
        layout = layout_pb2.Layout()
        for title, charts in categories.items():
            category = layout.category.add(title=title)
            for chart in charts:
                made = category.chart.add(title=chart.title)
                if chart.margin:
                    mean, low, high = chart.tags
                    made.margin.series.add(value=mean, lower=low, upper=high)
                else:
                    made.multiline.tag.extend(chart.tags)
        metadata = layout_metadata.create_summary_metadata()
        self._tensor(layout_metadata.CONFIG_SUMMARY_TAG, layout.SerializeToString(), metadata)

    def getvalue(self) -> bytes:
        """Return the file's content."""
        return self._buffer.getvalue()

    def _tensor(self, tag: str, content: bytes, metadata: Any) -> None:
        tensor = tensor_util.make_tensor_proto(content)
        value = summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)
        self._write(event_pb2.Event(step=0, summary=summary_pb2.Summary(value=[value])), 0.0)

    def _write(self, event: Any, elapsed_s: float) -> None:
        event.wall_time = self._begun + elapsed_s
        self._records.write(event.SerializeToString())
