"""What a source gives, with the files that it names read."""

from collections.abc import Iterator

from striate.data.sources.base import Content, Inventory, PictureFile, Source


def contents_of(source: Source, inventory: Inventory) -> Iterator[Content]:
    for content in source.read(inventory):
        yield content.read() if isinstance(content, PictureFile) else content
