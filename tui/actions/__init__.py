"""What each key does, by what it is about: moving, choosing, the curves, the runs themselves."""
