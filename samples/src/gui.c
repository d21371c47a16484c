/* A program with a window: one dialog from its resources, and the end. */
#include <windows.h>

#define DIALOG 100

static INT_PTR CALLBACK answer(HWND dialog, UINT message, WPARAM wparam, LPARAM lparam)
{
    (void)lparam;
    if (message == WM_INITDIALOG)
        return TRUE;
    if (message != WM_CLOSE && (message != WM_COMMAND || LOWORD(wparam) > IDCANCEL))
        return FALSE;
    EndDialog(dialog, 0);
    return TRUE;
}

int WINAPI WinMain(HINSTANCE self, HINSTANCE before, LPSTR line, int show)
{
    (void)before, (void)line, (void)show;
    DialogBoxParamW(self, MAKEINTRESOURCEW(DIALOG), NULL, answer, 0);
    return 0;
}
