# Completion for bash. Names come live from the instance, so this file never goes stale.
# Use: source it, or install it as /usr/share/bash-completion/completions/hozon
_hozon() {
  # The words up to the cursor as they were typed: COMP_WORDS is cut at '@', '=' and ':', too.
  local line="${COMP_LINE:0:COMP_POINT}" piece i
  local -a words=()
  for ((i = 0; i <= COMP_CWORD; ++i)); do
    if [[ $i -eq 0 || $line == [[:blank:]]* ]]; then
      line="${line#"${line%%[![:blank:]]*}"}"
      words+=('')
    fi
    piece="${COMP_WORDS[i]}"
    ((i == COMP_CWORD)) && piece="$line"
    words[-1]+="$piece"
    line="${line#"$piece"}"
  done
  # Without their quotes; that of the last may be open still.
  local quoted=no word
  local -a plain=()
  for word in "${words[@]}"; do
    quoted=no
    case $word in
      \'*) quoted=yes word="${word#\'}" word="${word%\'}" ;;
      \"*) quoted=yes word="${word#\"}" word="${word%\"}" ;;
      *) word="${word//\\/}" ;;
    esac
    plain+=("$word")
  done
  local -a found=()
  mapfile -t found < <(hozon __complete -- "${plain[@]:1}" 2>/dev/null)
  COMPREPLY=()
  if ((${#found[@]} == 0)); then
    compopt -o default
    return
  fi
  # What stands before such a character is there already; '@' itself belongs to what is replaced.
  local there=''
  if [[ $quoted == no && $word == *[@=:]* ]]; then
    there="${word%"${word##*[@=:]}"}"
    [[ $COMP_WORDBREAKS == *"${there: -1}"* ]] || there=''
    there="${there%@}"
  fi
  for word in "${found[@]}"; do
    word="${word#"$there"}"
    [[ $quoted == yes ]] || printf -v word %q "$word"
    COMPREPLY+=("$word")
  done
}
complete -F _hozon hozon
