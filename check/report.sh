#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab report makes a page of runs that is valid, needs nothing from elsewhere, and shows
# every call site and every failure. The runs are made up.

. check/lib.sh

lab=lab/lab
page=$work/page.html
# A cause that would break a page that takes it for HTML
cause='x.c:7: <b>"a" & '"'b'"'</b></table>'

# make_run FOLDER STATUS: a run whose KTAP is stdin; its summary is what the lab makes
make_run()
{
	mkdir -p "$1"
	cat > "$1/ktap"
	{
		printf 'status %s\ntime 10\nrelease 7.3\n' "$2"
		awk -f lab/awk/ktap-facts.awk "$1/ktap"
	} > "$1/summary"
}

make_runs()
{
	# A pass, a failure, a SKIP, and many processes
	make_run "$work/runs/lazy" 1 <<-EOF
	TAP version 13
	1..2
	# mode: expected=lazy contract=lazy measured=lazy decided-by=request
	# ok 1 split.munmap_mid_anon.counts
	# not ok 2 split.cow_write_mid_anon.counts #  $cause
	# ok 3 split.mlock_mid_anon.counts # SKIP needs <swap> & "root"
	# # footprint: 64 MiB of anon PMDs: 0 kB of PTE tables, 0 without a THP
	# ok 4 pmd.footprint_anon
	not ok 1 thp_lazy_split # exit=1
	# # crowd.net: 64 processes: +260 kB of tables, 2048 kB freed, -476 kB free, 283 ms
	# # crowd.net: 600 processes: +0 kB of tables, 12 kB freed, +488 kB free, 2870 ms
	# ok 1 crowd.net
	ok 2 thp_fork_copy
	EOF
	# The same kernel, and the guest dies
	make_run "$work/runs/more/lazy" 1 <<-EOF
	TAP version 13
	# ok 1 split.munmap_mid_anon.counts
	EOF
	echo 'trouble the guest died: <BUG> & more' >> "$work/runs/more/lazy/summary"
	# All is well
	make_run "$work/runs/eager" 0 <<-EOF
	# mode: expected=eager contract=eager measured=eager decided-by=request
	# ok 1 split.munmap_mid_anon.counts
	# ok 2 split.cow_write_mid_anon.counts
	ok 1 thp_lazy_split
	# # crowd.net: 64 processes: +0 kB of tables, 2048 kB freed, -476 kB free, 283 ms
	# ok 1 crowd.net
	ok 2 thp_fork_copy
	EOF
}

report()
{
	"$lab" report "$@" "$work/runs/lazy" "$work/runs/eager" "$work/runs/more/lazy" \
		2> "$log" </dev/null
}

# has NAME COUNT TEXT: so many lines of the page have it
has()
{
	found=$(grep -cF -e "$3" "$page")
	: > "$log"
	if [ "$found" -eq "$2" ]; then
		pass "$1"
	else
		fail "$1" "$found lines, not $2, with: $3"
	fi
}

# The row of call site $1
row()
{
	has "the cells of $1" 1 "<tr id=\"site-$1\">"
	grep -F "<tr id=\"site-$1\">" "$page" > "$work/row"
	shift
	for cell; do
		grep -qF -e ">$cell<" "$work/row" || echo "no cell: $cell"
	done | none "... are as they should be" "they are not"
}

valid()
{
	if have tidy; then
		tidy -q -e "$page" 2>&1 | none "valid HTML" "tidy complains"
	else
		skip "valid HTML" "needs tidy"
	fi
	grep -nE "(src|href)=[\"']?[^\"'#]|https?:|@import|url\\(|<(script|link|img)" "$page" |
		none "nothing from elsewhere" "this is"
	grep -o " id=[\"'][^\"']*" "$page" | sed 's/^ id=.//' | sort > "$work/anchors"
	uniq -d "$work/anchors" | none "no anchor twice" "these are"
	grep -o "href=[\"']#[^\"']*" "$page" | sed 's/^href=.#//' | sort -u |
		comm -23 - "$work/anchors" | none "no link to nowhere" "these are"
}

contents()
{
	sed -n 's/.*<tr id="site-\([^"]*\)".*/\1/p' "$page" | sort > "$work/shown"
	awk -F '|' '/^\|/ && $2 !~ /^ ID |^-/ { gsub(/[ `]/, "", $2); print $2 }' \
		docs/call-sites.md | sort | diff - "$work/shown" |
		none "every call site once" "< is in docs/call-sites.md, > on the page"
	row split-munmap "pass 1/0/0"
	row cow-write "FAIL 0/1/0</a>" "pass 1/0/0"
	row split-mlock "skip 0/0/1" "not run"
	row file-split-dax "no test"
	has "a cut run says what did not run" 1 \
		"<td class=\"pass\">pass 1/0/0, $(($("./run_tests.sh" -l |
			awk -F '\t' '(" " $2 " ") ~ / split-munmap / { n++ } END { print n }') - 1)) not run<"
	has "the failure, escaped" 1 \
		'<td>x.c:7: &lt;b&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/b&gt;&lt;/table&gt;</td>'
	has "... and linked" 1 'id="f1-cow-write"'
	has "the finding" 1 '1. 1 test, cow-write, do_huge_pmd_wp_page(): x.c:7: &lt;b&gt;'
	has "the reason of a SKIP" 1 'needs &lt;swap&gt; &amp; &quot;root&quot;</th><td>1</td>'
	has "the crash" 1 'the guest died: &lt;BUG&gt; &amp; more'
	has "two runs of a name" 1 '<th scope="row">more/lazy</th><td>7.3</td>'
	has "the footprint" 1 '<td>0 kB of PTE tables, 0 without a THP</td><td>-</td><td>-</td></tr>'
	has "the points of a curve" 1 '<th scope="row">64</th><td>260</td><td>0</td><td>-</td>'
}

refuses()
{
	name=$1 says=$2
	shift 2
	"$lab" report "$@" > "$log" 2>&1 </dev/null
	try "$name" test "$? $(grep -cF -e "$says" "$log")" = "2 1"
}

make_runs
report --output "$page"
try "a page" test $? -eq 0 -a -s "$page"
report > "$work/stdout"
try "... or the standard output" cmp "$work/stdout" "$page"
valid
contents
if have gnuplot; then
	has "two curves" 2 '<svg role="img" aria-label="crowd.net: '
else
	skip "two curves" "needs gnuplot"
fi
if have chromium; then
	timeout 60 chromium --headless --no-sandbox --disable-gpu --dump-dom "file://$page" \
		> "$work/dom" 2> "$log"
	try "a browser shows all call sites" test "$(grep -c '<tr id="site-' "$work/dom")" -eq \
		"$(wc -l < "$work/shown")"
else
	skip "a browser shows all call sites" "needs chromium"
fi
refuses "no run" "report takes runs"
refuses "no such kernel" "v8: no run that is recorded" v8
refuses "an unknown option" "unknown option --fast" --fast v8
refuses "a file that cannot be written" "cannot be written" --output "$work" "$work/runs/eager"

# Other awks, and no gnuplot
tools=$work/tools
mkdir "$tools"
ln -s /bin/* /usr/bin/* "$tools" 2>/dev/null
rm -f "$tools/gnuplot"
sed '/^<svg/,/^<\/svg>/d' "$page" > "$work/bare"
for awk in mawk gawk 'busybox awk'; do
	have "${awk%% *}" || continue
	stand_in "$tools/awk" "$awk"
	PATH=$tools report > "$work/other"
	grep -v 'Without curves: gnuplot is not installed' "$work/other" | diff "$work/bare" - |
		none "the same by $awk, without gnuplot" "> is"
	try "... which it says" test $(($(wc -l < "$work/bare") + 1)) -eq \
		"$(wc -l < "$work/other")"
done
