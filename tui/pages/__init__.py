"""The screens as functions: from the state and a size in cells to lines of text."""
