# Completion for fish. Words and names come live from hozon, so this file never goes stale.
# Use: install it as completions/hozon.fish
function __hozon_complete
    # Without their quotes; that of the word being typed may be open still.
    set -l typed (commandline -opc)
    set -l raw (commandline -ct)
    set -l word (string unescape -- "$raw")
    or set word (string sub -s 2 -- "$raw")
    set -l found (hozon __complete -- $typed[2..-1] "$word" 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path "$word"
    end
end
complete -c hozon -f -a '(__hozon_complete)'
