"""How well verdicts, explanations, rules and groups hold."""
