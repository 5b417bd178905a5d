"""Models: one adapter over every ``AutoModelForImageTextToText``, packed rows, caches, and the embedded tiny LLaVA."""
