"""What called people say first, and what they say when nobody answers them.

``|`` is a pause inside a greeting; ``{name}`` and ``{company}`` are drawn. Sentences of a language that the corpus
only tests with stand here like the others: the plan keeps them out of the training part. Chinese is in pinyin with
tone numbers, because the synthesiser spells characters that are not in its dictionary.
"""

from types import MappingProxyType
from typing import Final

NAMES: Final = MappingProxyType(
    {
        "en": ("Smith", "Anna", "Doctor Miller", "Robert", "Jones", "Emily Parker", "Mike", "Patel", "O'Brien", "Sue"),
        "es": ("García", "María", "José Luis", "señora Romero", "Pablo", "Martínez"),
        "fr": ("Dubois", "Marie", "Monsieur Lefèvre", "Camille", "Jean-Pierre", "Moreau"),
        "de": ("Müller", "Schmidt", "Anna Weber", "Schneider", "Doktor Vogel", "Krause"),
        "it": ("Rossi", "Giulia", "Dottor Bianchi", "Marco", "Ferrari"),
        "pt": ("Silva", "João", "Dona Helena", "Carlos", "Ferreira"),
        "nl": ("De Vries", "Jansen", "Sanne Bakker", "Pieter", "Mevrouw Smit"),
        "ru": ("Иванов", "Мария", "Сергей Петрович", "Кузнецова", "Олег"),
        "pl": ("Kowalski", "Anna Nowak", "Piotr", "Wiśniewska"),
        "sv": ("Andersson", "Karin", "Lars Nilsson", "Svensson"),
        "tr": ("Mehmet", "Ayşe Yılmaz", "Demir", "Kaya"),
        "cmn": ("wang2 wei3", "li3 na4", "zhang1 xian1 sheng5", "chen2"),
    }
)
COMPANIES: Final = MappingProxyType(
    {
        "en": ("Smith and Sons", "City Dental", "the Blue Lantern", "Northern Freight", "Parker Legal", "Green Garage"),
        "es": ("Talleres Romero", "Clínica del Sol", "Hotel Miramar"),
        "fr": ("Garage Dubois", "Cabinet Moreau", "Hôtel du Lac"),
        "de": ("Autohaus Vogel", "Praxis Doktor Weber", "Krause Elektrotechnik"),
        "it": ("Studio Bianchi", "Officina Ferrari", "Albergo Aurora"),
        "pt": ("Clínica Santa Rita", "Oficina Ferreira", "Hotel Atlântico"),
        "nl": ("Garage Jansen", "Bakkerij Smit", "Tandarts De Vries"),
        "ru": ("Компания Восток", "Гостиница Нева", "Автосервис Мотор"),
        "pl": ("Hotel Bałtyk", "Warsztat Kowalski"),
        "sv": ("Nilssons Bil", "Tandkliniken"),
        "tr": ("Kaya Oto", "Deniz Oteli"),
        "cmn": ("dong1 fang1 gong1 si1", "chang2 cheng2 fan4 dian4"),
    }
)

GREETINGS: Final = MappingProxyType(
    {
        "en": (
            "Hello?",
            "Hello.",
            "Hi.",
            "Yes?",
            "Yeah?",
            "Hello, hello?",
            "Hello?|Hello?",
            "Hi, this is {name}.",
            "{name}.",
            "{name} speaking.",
            "Hello, {name} here.",
            "This is {name}.",
            "Good morning.",
            "Good afternoon, {name} speaking.",
            "{company}, good morning, how can I help you?",
            "{company}, this is {name}, how may I help?",
            "Good afternoon, {company}, {name} speaking, what can I do for you?",
            "Thank you for calling {company}, this is {name}.",
            "{company}.",
            "Hello, who is this?",
            "Yes...|Who's there?",
            "Hello?|Who is calling, please?",
            "Hang on.|Hello?",
            "Sorry, hello?",
            "Hello, good evening.",
            "Front desk, {name}.",
            "Reception, good morning.",
            "Speaking.",
            "Hey, what's up?",
            "Hello, the {name} residence.",
            "Yep.",
            "Hey.",
            "Hello, can you hear me?",
            "Oh, hi there.",
            "Hello, sales department, {name} speaking.",
            "Go ahead.",
            "Mm, hello?",
            "Hello|yes, hello?",
        ),
        "es": (
            "¿Sí?",
            "¿Diga?",
            "¿Hola?",
            "¿Bueno?",
            "Dígame.",
            "¿Aló?",
            "Hola, buenos días.",
            "Sí, soy {name}.",
            "{company}, buenos días, ¿en qué puedo ayudarle?",
            "¿Sí?|¿Quién es?",
            "Hola, habla {name}.",
        ),
        "fr": (
            "Allô?",
            "Oui?",
            "Allô, oui?",
            "Oui, allô?",
            "Bonjour.",
            "{name} à l'appareil.",
            "{company}, bonjour, que puis-je faire pour vous?",
            "Allô?|Qui est à l'appareil?",
            "Oui, bonjour, {name}.",
        ),
        "de": (
            "Hallo?",
            "Ja?",
            "Ja bitte?",
            "{name}.",
            "{name}, guten Tag.",
            "Hallo, hier ist {name}.",
            "{company}, {name}, guten Tag, was kann ich für Sie tun?",
            "Hallo?|Wer ist da?",
            "Ja, hallo?",
        ),
        "it": (
            "Pronto?",
            "Pronto, chi parla?",
            "Sì, pronto?",
            "Sono {name}.",
            "{company}, buongiorno, come posso aiutarla?",
            "Pronto?|Chi è?",
            "Sì?",
        ),
        "pt": (
            "Alô?",
            "Oi?",
            "Pois não?",
            "Alô, quem fala?",
            "Aqui é {name}.",
            "{company}, bom dia, em que posso ajudar?",
            "Alô?|Alô?",
        ),
        "nl": (
            "Hallo?",
            "Met {name}.",
            "Goedemorgen, met {name}.",
            "Ja, hallo?",
            "{company}, goedemiddag, u spreekt met {name}.",
            "Hallo?|Wie is daar?",
        ),
        "ru": (
            "Алло?",
            "Да?",
            "Да, слушаю.",
            "Слушаю вас.",
            "Алло, кто это?",
            "{company}, добрый день, чем могу помочь?",
            "Алло?|Алло, говорите.",
        ),
        "pl": ("Halo?", "Tak, słucham?", "Słucham.", "{name}, słucham.", "{company}, dzień dobry, w czym mogę pomóc?"),
        "sv": ("Hallå?", "Ja, hej?", "Det är {name}.", "{company}, god morgon, vad kan jag hjälpa till med?", "Hej."),
        "tr": ("Alo?", "Efendim?", "Buyurun.", "Alo, kimsiniz?", "{company}, iyi günler, nasıl yardımcı olabilirim?"),
        "cmn": (
            "wei2?",
            "wei2, ni3 hao3.",
            "ni3 hao3, wo3 shi4 {name}.",
            "nin2 hao3, {company}, qing3 wen4 nin2 zhao3 shei2?",
            "wei2?|na3 wei4?",
        ),
    }
)

AGAIN: Final = MappingProxyType(
    {
        "en": ("Hello?", "Hello? Who is this?", "Is anybody there?", "Hello? Can you hear me?", "Yes? Hello?"),
        "es": ("¿Hola?", "¿Quién es?", "¿Sí? ¿Me oye?"),
        "fr": ("Allô?", "Il y a quelqu'un?", "Allô? Vous m'entendez?"),
        "de": ("Hallo?", "Wer ist denn da?", "Hallo? Hören Sie mich?"),
        "it": ("Pronto?", "C'è qualcuno?"),
        "pt": ("Alô?", "Quem é? Alô?"),
        "nl": ("Hallo?", "Is daar iemand?"),
        "ru": ("Алло?", "Вас не слышно."),
        "pl": ("Halo?", "Kto mówi?"),
        "sv": ("Hallå?", "Är det någon där?"),
        "tr": ("Alo?", "Kimse yok mu?"),
        "cmn": ("wei2?", "qing3 wen4 shi4 na3 wei4?"),
    }
)

CHATTER: Final = MappingProxyType(
    {
        "en": (
            "and then she said that they would come on Tuesday, or perhaps a day later, but nobody knew for certain",
            "the weather tomorrow will be mostly dry with some clouds in the west and a light wind from the sea",
            "so I told him to put the boxes in the kitchen and to close the door because of the dog",
        ),
        "es": ("y luego dijeron que vendrían el martes, pero nadie lo sabía con seguridad, así que esperamos en casa",),
        "fr": ("et puis ils ont dit qu'ils viendraient mardi, mais personne n'en était sûr, alors nous avons attendu",),
        "de": ("und dann haben sie gesagt, dass sie am Dienstag kommen, aber niemand wusste es ganz genau",),
    }
)
"""What other people in the room, or a television, talk about meanwhile."""
