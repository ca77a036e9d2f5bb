# METADATA
# title: Images
# description: What more than one rule asks about an image that the stack names.
package flowyml.lib.images

# METADATA
# description: |
#   The paths of the places that name an image, so that each gets a finding of its own; the whole definition where none
#   is known, so that a finding is never lost.
places(image) := object.get({0: [[]]}, count(image.paths), image.paths)
