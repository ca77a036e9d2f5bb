package org.rules.gpu

findings contains finding if {
	finding := nothing_of_this_name
}
