#!/bin/sh
# Makes the prompts anew: mu-law, 8000 Hz, mono, without a header. Needs espeak-ng and sox.
set -eu
cd "$(dirname "$0")"

say() { # language, voice, file, text
    mkdir -p "$1"
    espeak-ng -v "$2" -s 150 --stdout "$4" |
        sox -t wav - -t raw -r 8000 -c 1 -e mu-law "$1/$3.ulaw" gain -n -3 silence 1 0.01 0.5% reverse silence 1 0.01 0.5% reverse
}

digits() { # language, voice, the words for 0 to 9
    language=$1 voice=$2 n=0
    shift 2
    for word in "$@"; do
        say "$language" "$voice" "$n" "$word"
        n=$((n + 1))
    done
}

say en en-us test "This is a test call. Your callback number is"
say en en-us path "The path is"
say en en-us direct-routing "direct routing."
say en en-us direct-offer "direct offer."
say en en-us goodbye "Goodbye."
digits en en-us zero one two three four five six seven eight nine

say es es-419 test "Esta es una llamada de prueba. Su número de devolución de llamada es"
say es es-419 path "La vía es"
say es es-419 direct-routing "enrutamiento directo."
say es es-419 direct-offer "oferta directa."
say es es-419 goodbye "Adiós."
digits es es-419 cero uno dos tres cuatro cinco seis siete ocho nueve

say fr fr test "Ceci est un appel d'essai. Votre numéro de rappel est le"
say fr fr path "La voie est"
say fr fr direct-routing "routage direct."
say fr fr direct-offer "offre directe."
say fr fr goodbye "Au revoir."
digits fr fr zéro un deux trois quatre cinq six sept huit neuf
