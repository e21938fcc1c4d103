# SPDX-License-Identifier: GPL-2.0
#
# Text as HTML, for report.awk.

function html(text) {
	gsub(/&/, "\\&amp;", text)
	gsub(/</, "\\&lt;", text)
	gsub(/>/, "\\&gt;", text)
	gsub(/"/, "\\&quot;", text)
	gsub(/'/, "\\&#39;", text)
	gsub(/[\001-\010\013-\037]/, "?", text)
	return text
}

# Text of a Markdown table: `code` is code, [text](link) is text.
function markdown(text,	out, code) {
	while (match(text, /\]\([^)]*\)/))
		text = substr(text, 1, RSTART - 1) substr(text, RSTART + RLENGTH)
	gsub(/\[/, "", text)
	text = html(text)
	while ((code = index(text, "`"))) {
		out = out substr(text, 1, code - 1) (open_ ? "</code>" : "<code>")
		open_ = !open_
		text = substr(text, code + 1)
	}
	if (open_)
		out = out "</code>"
	open_ = 0
	return out text
}

function head(scope, text, class) {
	return "<th scope=\"" scope "\"" (class ? " class=\"" class "\"" : "") ">" text "</th>"
}

function data(text, class) {
	return "<td" (class ? " class=\"" class "\"" : "") ">" text "</td>"
}

function link(id, text) { return "<a href=\"#" id "\">" text "</a>" }

# A heading with an anchor
function section(id, title) {
	print "<h2 id=\"" id "\">" title "</h2>"
}

function table(caption) {
	print "<div class=\"wide\"><table>"
	print "<caption>" caption "</caption>"
}

function table_end() { print "</table></div>" }

function include(file,	line, n) {
	while ((getline line <file) > 0) {
		print line
		n++
	}
	close(file)
	return n
}
