"""Label maps as files of other programs: COCO, labelme, GeoJSON, and a table of shares.

Each module makes the text of one kind of file from :class:`smalti.annotations.picture.Annotated` and the class names;
it writes nothing itself. This room imports only ``errors``, ``vision``, numpy and the standard library.
"""
