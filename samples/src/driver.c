/* The shape of a driver without the behaviour: it says a line to the debugger and refuses to
   load, so nothing of it stays in a kernel. */
typedef long NTSTATUS;

#define STATUS_UNSUCCESSFUL ((NTSTATUS)0xC0000001L)

__declspec(dllimport) unsigned long DbgPrint(const char *format, ...);

NTSTATUS DriverEntry(void *driver, void *registry_path)
{
    (void)driver, (void)registry_path;
    DbgPrint("maltriage sample: not a driver\n");
    return STATUS_UNSUCCESSFUL;
}
