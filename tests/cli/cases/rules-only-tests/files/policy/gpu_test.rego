package project.rules.gpu

test_nothing if true
