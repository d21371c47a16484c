/* A program that carries a section of pseudo-random bytes, as a packed program would, but only
   adds them up. Nothing is unpacked and nothing of the section is run. */
#include <stdio.h>

extern const unsigned char pack_start[], pack_end[];

int main(void)
{
    unsigned sum = 0;
    const unsigned char *at;

    for (at = pack_start; at < pack_end; at++)
        sum += *at;
    printf("maltriage sample: the bytes of the section .pack add up to %u\n", sum);
    return 0;
}
