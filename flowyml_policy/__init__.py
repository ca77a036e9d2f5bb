"""Policy as code for ML execution stacks, judged by the Open Policy Agent."""
