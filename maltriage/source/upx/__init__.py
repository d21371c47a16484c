"""Takes apart what UPX has packed: the program as it was, in memory.

UPX packs the image of a program (its sections as they lie in memory), with its headers and lists of
what was changed behind it; a checksum says whether it came out right. What is put back is what
`upx -d` puts back. The format is that of UPX 1 to 5 for PE files (`packhead.cpp`, `pefile.cpp` and
`filteri.cpp` there).
"""
