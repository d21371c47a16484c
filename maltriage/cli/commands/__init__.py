"""The commands, a module each: it parses, calls one function, hands the result on."""
