/* A library with three exports, none of which touches anything but its arguments. */
#include <stddef.h>
#include <stdint.h>

__declspec(dllexport) uint32_t sample_adler32(const unsigned char *bytes, size_t count)
{
    uint32_t a = 1, b = 0;

    while (count--) {
        a = (a + *bytes++) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

__declspec(dllexport) size_t sample_zeros(const unsigned char *bytes, size_t count)
{
    size_t zeros = 0;

    while (count--)
        zeros += *bytes++ == 0;
    return zeros;
}

__declspec(dllexport) const char *sample_name(void)
{
    return "maltriage sample: a library";
}
