package project.rules.gpu

findings contains {
