"""Made-up siblings of a forget request: patients who never were, and questions beside its wrong facts."""
