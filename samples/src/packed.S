/* The section .pack of packed.c: read-only data that build.py makes. */
    .section .pack,"dr"
    .globl _pack_start
    .globl _pack_end
_pack_start:
    .incbin "pack.bin"
_pack_end:
