"""Make the speech clips beside this file: ``python -m telephony.simworld.audio.make_clips``.

Run it once when the texts below change; the clips are in the repository, so nobody else needs the synthesisers: these
are espeak-ng and, for voices whose name begins with ``flite:``, flite. espeak-ng is GPL-3.0-or-later, flite has a
licence like BSD's; what they say is bound by neither. The corpus on which the analysis is trained
(`telephony.cpa.corpus`) says other sentences, and of what follows the first 34 clips not in the same voices either: a
demo shall not measure what was learnt by heart. Output: raw mu-law at 8 kHz, one file a clip, speech level -20 dBFS,
silence at both ends cut off, and ``clips.json`` with kind, voice, text and length of each.
"""

import io
import json
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.simworld.g711 import SAMPLE_RATE_HZ, ulaw_bytes

SPEECH_LEVEL_DBFS: Final = -20.0
TOTAL_LIMIT_BYTES: Final = 2_500_000
FADE_SAMPLES: Final = 40
FLITE: Final = "flite:"
FOLDER: Final = Path(__file__).parent

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Text:
    kind: str
    voice: str
    words: str
    speed_wpm: int = 165
    pitch: int = 50
    """0..100, espeak-ng only."""


TEXTS: Final = (
    Text("human", "en-us", "Hello?"),
    Text("human", "en-us+f2", "Hello?"),
    Text("human", "en-us+f3", "Hi."),
    Text("human", "en-us+m3", "Yes?"),
    Text("human", "en-gb-x-rp", "Hello, who is it?"),
    Text("human", "en-gb-x-rp+f4", "Hello, Susan speaking."),
    Text("human", "en-gb-scotland", "Hello, hello?"),
    Text("human", "en-us-nyc", "Yeah, Mike here."),
    Text("human", "en-us+f5", "Good morning."),
    Text("human", "en-gb+f1", "Hello, this is Anna."),
    Text("human", "en-us+m7", "This is John."),
    Text("human", "en-029", "Good day, hello?"),
    Text(
        "machine",
        "en-us",
        "Hi, you have reached the Millers. We can not come to the phone right now. "
        "Please leave a message after the tone.",
        175,
    ),
    Text(
        "machine",
        "en-us+f2",
        "Hello, this is Carol. I am away from my phone, so please leave your name and number and I will call you back.",
        180,
    ),
    Text(
        "machine",
        "en-gb-x-rp+f4",
        "The person you are calling is not available. Please record your message after the beep.",
        165,
    ),
    Text("machine", "en-us-nyc", "Hey, it's Tony, leave a message, and have a good one. Thanks for calling.", 160),
    Text(
        "machine",
        "en-gb-scotland",
        "Thank you for calling. Nobody is here at the moment. When you hear the tone, tell us what we can do for you.",
        170,
    ),
    Text(
        "machine",
        "en-us+m3",
        "Your call has been forwarded to an automatic voice message system. At the tone, please record your message.",
        170,
    ),
    Text("again", "en-us", "Hello? Is anybody there?"),
    Text("again", "en-us+f2", "Hello? Hello?"),
    Text("agent", "en-us+f3", "Good afternoon, I am calling about the appointment that you asked us for.", 170),
    Text("agent", "en-us+m7", "Thank you for taking the call. Would next Tuesday in the morning suit you?", 170),
    Text("agent", "en-gb-x-rp", "May I read back the address that we have for you, to make sure it is right?", 170),
    Text("agent", "en-gb+f1", "Very well, I have noted that. Is there anything else that I can do for you today?", 170),
    Text("customer", "en-us", "Yes, that sounds right to me, I think.", 165),
    Text("customer", "en-us+f2", "Well, let me see, could you say that again please?", 165),
    Text("customer", "en-gb-x-rp", "No, the afternoon would be much better for us.", 165),
    Text("customer", "en-gb-scotland", "All right then, thank you for the reminder.", 165),
    Text("wait", "en-us+f2", "Please wait while we connect your call.", 160),
    Text("sit_ic", "en-us+f5", "The number you have dialed has been changed. The new number is not listed.", 165),
    Text("sit_vc", "en-us+f5", "The number you have dialed is not in service. Please check the number.", 165),
    Text("sit_ro", "en-us", "We are sorry, your call can not be completed at this time. Please try again later.", 165),
    Text("sit_nc", "en-us", "All circuits are busy now. Please try your call again later.", 165),
    Text("sit_io", "en-us+f5", "Your call did not go through. Please hang up and dial again.", 165),
    # --- more people: other languages, other synthesiser, hurried and slow, high and low ------------------------------
    Text("human", "flite:awb", "Hello?"),
    Text("human", "flite:rms", "Hello, hi there."),
    Text("human", "flite:awb", "Hullo?"),
    Text("human", "flite:rms", "Hi, Dave here."),
    Text("human", "flite:rms", "Yes, good evening?", 190),
    Text("human", "de+steph3", "Ja, bitte?", 170, 60),
    Text("human", "de+max", "Weber.", 150, 35),
    Text("human", "de+linda", "Hallo, wer ist da?", 175),
    Text("human", "es+miguel", "Diga, dígame.", 170),
    Text("human", "es-419+shelby", "¿Aló, quién habla?", 165, 55),
    Text("human", "fr-fr+michel", "Allô, oui?", 160, 40),
    Text("human", "fr-fr+f5", "Allô, bonjour.", 165, 60),
    Text("human", "it+Mario", "Pronto, chi parla?", 170),
    Text("human", "pt-br+shelby", "Alô, quem fala?", 165, 65),
    Text("human", "pl+Hugo", "Halo, słucham?", 165),
    Text("human", "nl+rob", "Met Pieter.", 165, 40),
    Text("human", "tr+iven", "Alo, buyurun?", 165, 45),
    Text("human", "en-us+aunty", "Hello? Who is this please?", 125, 70),
    Text("human", "en-gb+grandpa", "Yes, hello, this is Arthur.", 120, 30),
    Text("business", "en-us+linda", "Good morning, Riverside Dental, this is Paula, how can I help you?", 175),
    Text("business", "flite:rms", "Harbor Street Hardware, Frank speaking, what can I do for you?", 175),
    Text(
        "business",
        "en-gb+steph2",
        "Thank you for calling the Old Mill Hotel, Janet at reception, good afternoon.",
        180,
        60,
    ),
    Text("business", "de+f3", "Autohaus Lehmann, guten Tag, mein Name ist Schulze, was kann ich für Sie tun?", 180),
    Text("business", "es+Michael", "Talleres Ortega, buenos días, le atiende Luis, ¿en qué puedo ayudarle?", 180),
    Text(
        "business",
        "fr-fr+steph3",
        "Cabinet Moreau, bonjour, Sylvie à l'appareil, que puis-je faire pour vous?",
        180,
        55,
    ),
    # --- more machines ------------------------------------------------------------------------------------------------
    Text("machine", "flite:awb", "You have dialed the home of Peter and Lynn. Talk to us when it beeps.", 170),
    Text("machine", "flite:awb", "We are out in the garden just now. Say who you are after the tone, cheers.", 165),
    Text(
        "machine",
        "flite:rms",
        "The mailbox of extension four one seven is taking messages. Begin when you hear the signal.",
        170,
    ),
    Text(
        "machine",
        "flite:rms",
        "Sorry I missed you. Drop me a line here, or try again after six o'clock tonight.",
        175,
    ),
    Text(
        "machine",
        "de+edward",
        "Guten Tag, hier ist der Anschluss von Familie Brandt. Bitte sprechen Sie nach dem Ton.",
        175,
        40,
    ),
    Text(
        "machine",
        "de+Alicia",
        "Wir sind zur Zeit im Urlaub. Hinterlassen Sie uns gern Ihren Namen und Ihre Nummer.",
        175,
    ),
    Text(
        "machine",
        "es+Denis",
        "Hola, este es el contestador de Teresa. Deje su mensaje y le llamo en cuanto pueda.",
        175,
    ),
    Text("machine", "es-419+Andrea", "El abonado no está disponible. Grabe su mensaje después del tono.", 170),
    Text(
        "machine",
        "fr-fr+Lee",
        "Bonjour, vous êtes bien chez Claire et Paul. Laissez un message après le bip.",
        175,
    ),
    Text("machine", "fr-fr+zac", "Votre correspondant est absent. Merci de parler après le signal sonore.", 165),
    Text(
        "machine",
        "it+john",
        "Ciao, sono Giulia, adesso non posso rispondere. Lasciate un messaggio dopo il segnale.",
        175,
    ),
    Text("machine", "pt-br+pablo", "Sua chamada foi para a caixa postal. Deixe o seu recado depois do sinal.", 175),
    Text(
        "machine",
        "nl+kaukovalta",
        "U spreekt met het antwoordapparaat van Jan. Spreek na de piep, dan bel ik terug.",
        170,
    ),
    Text("machine_short", "en-us+caleb", "Leave it at the tone.", 175),
    Text("machine_short", "flite:rms", "Voice mail of Jean. Go ahead.", 180),
    Text("machine_short", "en-gb+paul", "Message please.", 170, 40),
    Text("machine_short", "de+quincy", "Bitte nach dem Ton.", 180),
    Text("machine_short", "es+pablo", "Deje su mensaje.", 180),
    Text(
        "machine_long",
        "flite:rms",
        "This is the after hours line of the county water office. Our counters are open from eight to four, Monday "
        "through Thursday. If a pipe has burst, hang up and dial the emergency crew. Otherwise record your request.",
        175,
    ),
    Text(
        "machine_long",
        "en-gb+victor",
        "Greetings, this is the Hendersons. We have all gone to the lake until the end of the month, and there is no "
        "signal there at all. If it can wait, record it here. If not, our neighbor Walter has the keys. Speak up.",
        185,
    ),
    Text(
        "machine_long",
        "de+travis",
        "Sie sind mit der Praxis Doktor Arndt verbunden. Unsere Sprechzeiten sind Montag bis Freitag von acht bis "
        "zwölf Uhr. "
        "In dringenden Fällen wenden Sie sich an den Notdienst. Sonst können Sie uns jetzt eine Nachricht aufsprechen.",
        185,
    ),
    Text("machine_hi", "en-us+m6", "Hello?", 160),
    Text(
        "machine_rest",
        "en-us+m6",
        "Just kidding, I am not really here. Record something nice and I might call back.",
        170,
    ),
    Text("machine_hi", "flite:awb", "Hi, this is Monica."),
    Text("machine_rest", "flite:awb", "I am probably in a meeting. You know how these things work.", 170),
    Text("machine_hi", "de+m4", "Hallo, hier Jens.", 165, 40),
    Text("machine_rest", "de+m4", "Leider bin ich gerade nicht da. Nach dem Piep haben Sie dreißig Sekunden.", 170, 40),
    Text("machine_hi", "fr-fr+david", "Oui, allô?", 165),
    Text("machine_rest", "fr-fr+david", "C'est bien le répondeur de Marc. Parlez maintenant, je vous rappelle.", 170),
    # --- the network speaks -------------------------------------------------------------------------------------------
    Text(
        "announcement",
        "en-gb+announcer",
        "The number you have called has not been recognised. Please replace the handset.",
        160,
    ),
    Text("announcement", "de+klatt3", "Die gewählte Rufnummer ist nicht vergeben. Bitte legen Sie auf.", 165),
    Text("announcement", "es+m8", "El número marcado no existe. Por favor, verifique el número.", 165),
    Text("announcement", "flite:awb", "The customer you are trying to reach has switched off the handset.", 165),
)


def say(text: Text) -> tuple[Samples, int]:
    """Speech as floats in [-1, 1] and its sample rate."""
    if text.voice.startswith(FLITE):
        stretch = f"duration_stretch={165 / text.speed_wpm:.3f}"
        command = [
            "flite",
            "-voice",
            text.voice.removeprefix(FLITE),
            "--setf",
            stretch,
            "-t",
            text.words,
            "/dev/stdout",
        ]
    else:
        manner = ["-s", str(text.speed_wpm), "-p", str(text.pitch)]
        command = ["espeak-ng", "-v", text.voice, *manner, "--stdout", text.words]
    out = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(out)) as clip:
        rate_hz = clip.getframerate()
        # Written to a pipe, the header's length is a lie: ask for far more frames than there can be.
        raw = clip.readframes(60 * rate_hz)
    return np.frombuffer(raw, dtype="<i2").astype(np.float64) / 32768.0, rate_hz


def to_telephone(samples: Samples, rate_hz: int) -> Samples:
    """Band-limit to 300..3400 Hz and resample to 8 kHz, both in the frequency domain."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / rate_hz)
    spectrum[(hz < 300) | (hz > 3400)] = 0
    wanted = round(len(samples) * SAMPLE_RATE_HZ / rate_hz)
    kept = spectrum[: wanted // 2 + 1]
    resampled: Samples = np.fft.irfft(kept, wanted) * (wanted / len(samples))
    return resampled


def trim_and_level(samples: Samples) -> Samples:
    """Cut silent ends (35 dB under the peak) and set the RMS of what speaks to -20 dBFS."""
    frame = SAMPLE_RATE_HZ // 100
    count = len(samples) // frame
    rms = np.sqrt(np.square(samples[: count * frame].reshape(count, frame)).mean(axis=1))
    loud = np.flatnonzero(rms > rms.max() * 10 ** (-35 / 20))
    samples = samples[loud[0] * frame : (loud[-1] + 1) * frame]
    active = rms[rms > rms.max() * 10 ** (-25 / 20)]
    gain = 10 ** (SPEECH_LEVEL_DBFS / 20) / np.sqrt(2) / np.sqrt(np.square(active).mean())
    out: Samples = np.clip(samples * gain, -0.98, 0.98)
    ramp = np.linspace(0.0, 1.0, FADE_SAMPLES)
    out[:FADE_SAMPLES] *= ramp
    out[-FADE_SAMPLES:] *= ramp[::-1]
    return out


def main() -> int:
    for old in FOLDER.glob("*.ulaw"):
        old.unlink()
    entries, total, numbers = [], 0, dict.fromkeys((t.kind for t in TEXTS), 0)
    for text in TEXTS:
        encoded = ulaw_bytes(trim_and_level(to_telephone(*say(text))))
        name = f"{text.kind}_{numbers[text.kind]:02d}.ulaw"
        numbers[text.kind] += 1
        (FOLDER / name).write_bytes(encoded)
        total += len(encoded)
        length_s = round(len(encoded) / SAMPLE_RATE_HZ, 3)
        entries.append({"file": name, "kind": text.kind, "voice": text.voice, "text": text.words, "length_s": length_s})
    (FOLDER / "clips.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(entries)} clips, {total} bytes\n")
    return 0 if total <= TOTAL_LIMIT_BYTES else 1


if __name__ == "__main__":
    raise SystemExit(main())
