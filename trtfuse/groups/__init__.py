"""Groups: nodes that one GPU kernel runs, found when the rewrites are done."""
