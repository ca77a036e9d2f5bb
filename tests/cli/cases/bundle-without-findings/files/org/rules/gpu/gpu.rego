package org.rules.gpu

denied if input.stack.name == "prod"
