// A .NET program: says what it is.
using System;
using System.Reflection;

[assembly: AssemblyCompany("maltriage authors")]
[assembly: AssemblyProduct("maltriage samples")]
[assembly: AssemblyTitle("A harmless .NET sample")]
[assembly: AssemblyVersion("1.0.0.0")]

static class Sample
{
    static void Main()
    {
        Console.WriteLine("maltriage sample: a .NET program on " + Environment.Version);
    }
}
