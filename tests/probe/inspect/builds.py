"""Programs compiled for the tests, with what tools other than ours say is in them."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

GCC = {32: "i686-w64-mingw32-gcc", 64: "x86_64-w64-mingw32-gcc"}

C = r"""
#include <windows.h>
#include <stdio.h>

__declspec(dllexport) int exported_sum(const int *values, int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++)
        sum += values[i] * (i + 3);
    return sum;
}

__attribute__((noinline)) static int quiet(int a, int b)
{
    return a > b ? a * 31 + b : exported_sum(&a, 1) - b;
}

int main(int argc, char **argv)
{
    char name[64];
    puts("a string that main refers to");
    GetModuleFileNameA(NULL, name, sizeof name);
    Sleep(quiet(argc, name[0]));
    return exported_sum((int *)name, 4);
}
"""

CSHARP = """
using System;
namespace Demo.Tools
{
    class Worker
    {
        readonly int[] store = new int[9];

        public int Run(string text)
        {
            int found = 0;
            try
            {
                foreach (char c in text)
                    if (c == 'x') found++; else Console.WriteLine("unexpected letter {0}", c);
            }
            catch (Exception error) { Console.WriteLine(error); }
            switch (found) { case 0: return 5; case 1: return 7; case 2: return 9; }
            return store.Length + text.Length;
        }
    }

    static class Program
    {
        static void Main() { Console.WriteLine(new Worker().Run("hello")); }
    }
}
"""


def _needs(tool: str) -> str:
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}")
    return tool


@cache
def program(bits: int, *flags: str) -> bytes:
    """The C program above, with its symbols."""
    with TemporaryDirectory() as folder:
        Path(folder, "a.c").write_text(C)
        command = [_needs(GCC[bits]), "-O1", *flags, "a.c", "-o", "a.exe"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return Path(folder, "a.exe").read_bytes()


NESTED = """
using System.Collections.Generic;
namespace Demo
{
    class Outer
    {
        class Middle { class Inner { static int Count(Dictionary<int, int>.Enumerator one)
        {
            int found = 0;
            while (one.MoveNext()) found += one.Current.Key;
            return found;
        } } }
        static void Main() {}
    }
}
"""


@cache
def assembly(source: str = CSHARP) -> bytes:
    """A C# program, by default the one above."""
    with TemporaryDirectory() as folder:
        Path(folder, "a.cs").write_text(source)
        command = [_needs("mcs"), "-out:a.exe", "a.cs"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return Path(folder, "a.exe").read_bytes()


def _binutils(bits: int, tool: str, *arguments: str, data: bytes) -> str:
    with TemporaryDirectory() as folder:
        Path(folder, "a.exe").write_bytes(data)
        name = _needs(GCC[bits].replace("gcc", tool))
        command = [name, *arguments, "a.exe"]
        return subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True
        ).stdout


@cache
def symbols(bits: int) -> dict[str, int]:
    """Addresses of the functions of the program, by nm."""
    lines = _binutils(bits, "nm", data=program(bits)).splitlines()
    parts = [line.split() for line in lines]
    names = {p[2]: int(p[0], 16) for p in parts if len(p) == 3 and p[1] in "tT"}
    return {name.removeprefix("_") if bits == 32 else name: at for name, at in names.items()}


@cache
def instructions(bits: int) -> dict[int, str]:
    """Mnemonics by address, by objdump."""
    text = _binutils(bits, "objdump", "-d", "-M", "intel", data=program(bits))
    found = re.findall(r"^ *([0-9a-f]+):\t[0-9a-f ]+\t(\S+)", text, re.MULTILINE)
    return {int(at, 16): mnemonic for at, mnemonic in found}
