/* A console program: counts the bytes of its own name and says what it is. */
#include <stdio.h>

int main(int argc, char **argv)
{
    unsigned counts[256] = {0}, different = 0;
    const char *name = argc > 0 ? argv[0] : "";

    for (; *name; name++)
        different += counts[(unsigned char)*name]++ == 0;
    printf("maltriage sample: a console program; its name has %u different bytes\n", different);
    return 0;
}
