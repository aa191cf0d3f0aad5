# Completion for fish. Words and names come live from hozon, so this file never goes stale.
# Use: install it as completions/hozon.fish
function __hozon_complete
    set -l words (commandline -opc) (commandline -ct)
    hozon __complete -- $words[2..-1] 2>/dev/null
end
complete -c hozon -a '(__hozon_complete)'
