# SPDX-License-Identifier: GPL-2.0
#
# Lines of text for a terminal of -v columns: long ones are broken between words, but for
# commands, which are there to be copied. -v plain: what ends a colour. For end.awk, and for
# the lab.

function paint(hue, text) { print hue text (hue == "" ? "" : plain) }

function fold(hue, text,	indent, i) {
	match(text, /^ *([0-9]+(\.| x) )?/)
	indent = sprintf("%" RLENGTH "s", "")
	while (length(text) > columns && text !~ / -t [^ ]*$/) {
		for (i = columns + 1; i > length(indent) && substr(text, i, 1) != " "; i--)
			;
		if (i <= length(indent))
			break
		paint(hue, substr(text, 1, i - 1))
		text = indent substr(text, i + 1)
	}
	paint(hue, text)
}
