# SPDX-License-Identifier: GPL-2.0
#
# A drawing of gnuplot as a part of a page: IDs that begin with -v name, so that no two
# drawings have the same, the colour of the page's text for black, and -v label as what
# it is.

/^<\?xml/ { next }
/^<svg/ { print "<svg role=\"img\" aria-label=\"" label "\""; next }
/^<title>/ || /^<desc>/ || /xmlns/ { next }
/<filter / { skip = 1 }
/<\/filter>/ { skip = 0; next }
skip { next }
{
	gsub(/<title>[^<]*<\/title>/, "")
	gsub(/xlink:href/, "href")
	gsub(/gp(Dot|Pt)/, name "_&")
	gsub(/gnuplot_canvas/, name "_canvas")
	gsub(/black/, "currentColor")
	# The group's color would hide the page's.
	gsub(/ color="(currentColor|white)"/, "")
	if (!/^[ \t]*$/)
		print
}
