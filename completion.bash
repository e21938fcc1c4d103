# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Completion of run_tests.sh and lab/lab for bash: source this file.

_thp_lazy_pte_words()
{
	COMPREPLY=()
	while IFS= read -r word; do
		COMPREPLY+=("$word")
	done < <(compgen -W "$1" -- "$2")
}

# The options that the help of $1 names
_thp_lazy_pte_options()
{
	"$1" --help 2>/dev/null | grep -oE '(^|[[:space:],])--?[a-zA-Z][a-z-]*' | tr -d ' \t,' |
		sort -u
}

_thp_lazy_pte_run_tests()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words
	# bash cuts words at colons.
	if [[ $COMP_WORDBREAKS == *:* ]]; then
		[[ $word != : ]] || word=
		if [[ $before == : ]] || [[ ${COMP_WORDS[COMP_CWORD]} == : ]]; then
			local at=$((COMP_CWORD - 1))
			[[ $before != : ]] || at=$((COMP_CWORD - 2))
			words=$("${COMP_WORDS[0]}" -l 2>/dev/null |
				sed -n "s/^${COMP_WORDS[at]}:\([^[:space:]]*\).*/\1/p")
			_thp_lazy_pte_words "$words" "$word"
			return
		fi
	fi
	case $before in
	-t)	words=$("${COMP_WORDS[0]}" --help 2>/dev/null | sed -n 's/^Programs: //p');;
	-e)	words='eager lazy auto';;
	-o)	words='tap: ktap: json: junit:'
		compopt -o nospace 2>/dev/null;;
	-s)	words=;;
	*)	words=$(_thp_lazy_pte_options "${COMP_WORDS[0]}");;
	esac
	_thp_lazy_pte_words "$words" "$word"
}

_thp_lazy_pte_lab()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words
	local dir=${COMP_WORDS[0]%/*}
	case $before in
	--expect)	words='eager lazy auto';;
	--format)	words='tap ktap json junit';;
	--mmu)		words='radix hash';;
	--cgroup)	words='v1 v2';;
	--accel)	words='kvm tcg';;
	--arch)		words=$(sed -n 's/^arch[[:space:]]*//p' "$dir/arches");;
	--kernel | --config | --modules | --suite | --output | --tree | --series)
		COMPREPLY=()
		compopt -o default 2>/dev/null
		return;;
	*)	if ((COMP_CWORD == 1)); then
			words=$("${COMP_WORDS[0]}" --help 2>/dev/null |
				sed -n "s/^\(usage:\)\{0,1\} *[^ ]*lab \([a-z]*\).*/\2/p")
		elif [[ $word == -* ]]; then
			words=$(_thp_lazy_pte_options "${COMP_WORDS[0]}")
		else
			case ${COMP_WORDS[1]} in
			run | shell | build | compare | report | cost)
				words="stock reference pmdswap $(sed -n 's/^kernel[[:space:]]*//p' \
					"$dir/kernels")";;
			mutants | baseline)
				words="pmdswap $(sed -n 's/^\([a-z][a-z0-9_]*\) | .*/\1/p' \
					"$dir/kernel/mutants/list" \
					"$dir/kernel/pmdswap/mutants/list" 2>/dev/null)";;
			evidence)
				words='runs mutants reverts coverage baseline cost';;
			esac
		fi;;
	esac
	_thp_lazy_pte_words "$words" "$word"
}

complete -F _thp_lazy_pte_run_tests run_tests.sh
complete -F _thp_lazy_pte_lab lab
