"""What machines say: private and business mailboxes, mailboxes of carriers, voice menus.

``|`` is a pause between sentences, ``||`` the long one of a joker ("Hello? ... ha, I am not here"). ``{name}``,
``{company}`` and ``{number}`` are drawn. A mailbox ends with a beep; a menu (`MENUS`) does not, it waits or begins
again.
"""

from types import MappingProxyType
from typing import Final

MAILBOXES: Final = MappingProxyType(
    {
        "en": (
            "Hi, you've reached {name}.|I can't come to the phone right now.|Please leave a message after the tone.",
            "Hello, this is {name}.|I am away from my phone, so leave your name and number and I will call you back.",
            "You have reached {number}.|Please leave a message after the tone.",
            "Leave a message.",
            "Please leave a message after the beep.",
            "Hi, it's {name}, leave a message.",
            "This is {name}'s voicemail.|You know what to do.",
            "Hello.||I am not in at the moment, please call again later or leave a message.",
            "Hello?||Ha, I got you, I'm not really here, leave a message at the beep.",
            "Hey!||Hey, what's going on?||Just kidding, this is my machine, talk after the beep.",
            "Hi.|This is {name}.|Sorry I missed you.|Leave me a message and have a great day.",
            "Your call has been forwarded to an automatic voice message system.|{number}|is not available."
            "|At the tone, please record your message.",
            "Your call has been forwarded to voicemail.|The person you are trying to reach is not available."
            "|At the tone, please record your message.|When you have finished recording, you may hang up.",
            "The person you are calling cannot take your call right now.|Please record your message after the tone.",
            "The customer you have dialed is not available at present.|Please leave a message after the signal.",
            "Welcome to the mailbox of|{name}.|Please leave your message after the tone.",
            "The mailbox of|{number}|is full and cannot accept any messages at this time.|Goodbye.",
            "Thank you for calling {company}.|Our office is now closed.|Our hours are nine to five, Monday to Friday."
            "|Please leave a message and we will return your call on the next business day.",
            "You have reached {company}.|All of us are on another line or away from the desk."
            "|Please leave your name, your number and a short message after the tone.",
            "We can't get to the phone right now.|Leave a message for {name} or for {company} after the tone.",
            "Hi, we're not home, so please leave your name and number, and we'll get back to you as soon as we can.",
            "Hello, {name} speaking.||I'm sorry that I cannot take your call just now, but please do leave a message.",
            "Good day, this is the answering machine of {name}.|Nobody is at home.|Speak after the long beep.",
            "Not here.|Message.",
            "Sorry, the person at extension four one seven is unavailable.|Record your message at the tone.",
            "You've reached the voicemail box of {name} at {company}.|I'm out of the office until Monday."
            "|For urgent matters please call reception.|Otherwise leave a message.",
            "Hi, this is {name}'s phone.|I don't check voicemail, so send me a text instead.",
            "Hello, and thank you for calling.|There is nobody here to take your call.",
            "After the tone, please leave a message of up to three minutes.",
            "Hi you've reached {name} please leave me a brief message and I'll call you right back thanks bye",
        ),
        "es": (
            "Hola, soy {name}.|Ahora no puedo atenderte.|Deja tu mensaje después de la señal.",
            "Ha llamado al contestador automático del número {number}.|Deje su mensaje después de oír la señal.",
            "El teléfono al que llama está apagado o fuera de cobertura en este momento.|Deje un mensaje.",
            "Deje su mensaje después del tono.",
            "¿Hola?||Ja, no estoy.|Deja un mensaje.",
            "{company}.|Nuestro horario de atención es de nueve a dos.|Por favor, deje su nombre y su teléfono.",
            "Buzón de voz.|La llamada se cobrará al terminar los tonos siguientes.",
        ),
        "fr": (
            "Bonjour, vous êtes bien sur la messagerie de {name}.|Laissez-moi un message après le bip.",
            "Bonjour.|Je ne suis pas disponible pour le moment.|Merci de laisser un message après le signal sonore.",
            "Le correspondant que vous demandez n'est pas joignable.|Veuillez laisser votre message.",
            "{company}, nos bureaux sont actuellement fermés.|Merci de rappeler du lundi au vendredi.",
            "Allô?||Non, je ne suis pas là.|Laissez un message.",
            "Votre messagerie vocale est pleine.|Merci de rappeler plus tard.",
        ),
        "de": (
            "Hallo, hier ist der Anrufbeantworter von {name}.|Bitte hinterlassen Sie eine Nachricht nach dem Ton.",
            "Guten Tag.|Der gewünschte Gesprächspartner ist zurzeit nicht erreichbar.|Sprechen Sie nach dem Signalton.",
            "Sie sind verbunden mit der Mailbox von|{name}.|Bitte sprechen Sie nach dem Ton.",
            "Bitte sprechen Sie nach dem Ton.",
            "{company}.|Sie rufen außerhalb unserer Geschäftszeiten an.|Bitte hinterlassen Sie Ihre Telefonnummer.",
            "Hallo?||Reingefallen, ich bin nicht da.|Nachricht bitte nach dem Piep.",
        ),
        "it": (
            "Ciao, sono {name}.|In questo momento non posso rispondere.|Lasciate un messaggio dopo il segnale.",
            "Segreteria telefonica.|L'utente da lei chiamato non è al momento raggiungibile.|Lasci un messaggio.",
            "{company}.|I nostri uffici sono chiusi.|Si prega di lasciare un messaggio dopo il segnale acustico.",
            "Lasciate un messaggio dopo il bip.",
            "Pronto?||Scherzavo, non ci sono.|Parlate dopo il segnale.",
        ),
        "pt": (
            "Olá, você ligou para {name}.|No momento não posso atender.|Deixe seu recado após o sinal.",
            "Sua chamada está sendo encaminhada para a caixa postal e estará sujeita a cobrança após o sinal.",
            "{company}.|Nosso atendimento é de segunda a sexta.|Por favor, deixe o seu recado.",
            "Deixe sua mensagem após o bip.",
            "Alô?||Brincadeira, não estou.|Deixe o recado.",
        ),
        "nl": (
            "Hallo, dit is de voicemail van {name}.|Spreek een bericht in na de piep.",
            "De persoon die u belt is momenteel niet bereikbaar.|U kunt een bericht achterlaten na de toon.",
            "{company}, wij zijn op dit moment gesloten.|Spreek uw naam en nummer in, dan bellen wij u terug.",
            "Spreek in na de piep.",
        ),
        "ru": (
            "Здравствуйте, вы позвонили {name}.|Сейчас я не могу ответить.|Оставьте сообщение после сигнала.",
            "Абонент временно недоступен.|Пожалуйста, оставьте сообщение после звукового сигнала.",
            "{company}.|Рабочий день закончен.|Оставьте ваше имя и номер телефона.",
            "Говорите после сигнала.",
        ),
        "pl": (
            "Cześć, tu {name}.|Nie mogę teraz odebrać.|Zostaw wiadomość po sygnale.",
            "Abonent czasowo niedostępny.|Prosimy zostawić wiadomość po usłyszeniu sygnału.",
            "{company}.|Nasze biuro jest już zamknięte.|Prosimy o pozostawienie wiadomości.",
        ),
        "sv": (
            "Hej, du har kommit till {name}.|Jag kan inte svara just nu.|Lämna ett meddelande efter pipet.",
            "Du har kommit till en automatisk telefonsvarare.|Personen kan inte ta emot ditt samtal."
            "|Tala in ditt meddelande efter tonen.",
            "{company}.|Vi har stängt för dagen.|Lämna ditt namn och nummer så ringer vi upp.",
        ),
        "tr": (
            "Merhaba, ben {name}.|Şu anda telefona cevap veremiyorum.|Lütfen bip sesinden sonra mesaj bırakın.",
            "Aradığınız kişiye şu anda ulaşılamıyor.|Sinyal sesinden sonra mesajınızı bırakabilirsiniz.",
            "{company}.|Mesai saatlerimiz dokuz ile altı arasındadır.|Lütfen mesaj bırakın.",
        ),
        "cmn": (
            "nin2 hao3, wo3 shi4 {name}.|wo3 xian4 zai4 bu4 fang1 bian4 jie1 dian4 hua4."
            "|qing3 zai4 ti2 shi4 yin1 hou4 liu2 yan2.",
            "nin2 bo1 da3 de5 dian4 hua4 zan4 shi2 wu2 ren2 jie1 ting1.|qing3 zai4 bi1 sheng1 hou4 liu2 yan2.",
            "nin2 hao3, {company}.|xian4 zai4 shi4 fei1 gong1 zuo4 shi2 jian1.|qing3 liu2 xia4 nin2 de5 xing4 ming2.",
        ),
    }
)

MENUS: Final = MappingProxyType(
    {
        "en": (
            "Thank you for calling {company}.|For sales, press one.|For service, press two.|For all other questions,"
            " please stay on the line.",
            "Welcome to {company}.|Please listen carefully, as our menu has changed.|For billing, press one."
            "|To speak with an operator, press zero.",
            "Hello, you have reached {company}.|If you know the extension of your party, you may dial it at any time.",
            "Thank you for calling {company}.|Your call is important to us.|Please hold for the next free agent.",
            "To accept this call, press one.|To send it to voicemail, press two.",
            "The person you are calling uses a call screening service.|Please state your name and the reason for your"
            " call.",
            "This call may be recorded for quality and training.|Para español, oprima el dos.|For English, press one.",
        ),
        "es": (
            "Gracias por llamar a {company}.|Para ventas, marque uno.|Para reclamaciones, marque dos.",
            "Bienvenido a {company}.|Todos nuestros agentes están ocupados.|Manténgase a la espera, por favor.",
        ),
        "fr": (
            "Bienvenue chez {company}.|Pour le service commercial, tapez un.|Pour le service technique, tapez deux.",
            "{company}, bonjour.|Tous nos conseillers sont en ligne.|Veuillez patienter.",
        ),
        "de": (
            "Herzlich willkommen bei {company}.|Für Bestellungen drücken Sie die Eins.|Für alles andere die Zwei.",
            "{company}.|Alle Mitarbeiter sind zurzeit im Gespräch.|Bitte haben Sie einen Augenblick Geduld.",
        ),
        "it": ("Benvenuti in {company}.|Per informazioni, premere uno.|Per parlare con un operatore, premere due.",),
        "pt": ("Bem-vindo à {company}.|Para vendas, digite um.|Para falar com um atendente, digite nove.",),
        "nl": ("Welkom bij {company}.|Voor verkoop, toets één.|Voor service, toets twee.",),
        "ru": ("Вы позвонили в компанию {company}.|Чтобы соединиться с оператором, нажмите ноль.",),
        "pl": ("Witamy w {company}.|Aby połączyć się z konsultantem, wybierz jeden.",),
        "sv": ("Välkommen till {company}.|För försäljning, tryck ett.|För övriga frågor, tryck två.",),
        "tr": ("{company} hoş geldiniz.|Satış için bire, servis için ikiye basınız.",),
        "cmn": (
            "huan1 ying2 zhi4 dian4 {company}.|ye4 wu4 zi1 xun2 qing3 an4 yi1.|ren2 gong1 fu2 wu4 qing3 an4 ling2.",
        ),
    }
)

ANNOUNCEMENTS: Final = MappingProxyType(
    {
        "en": (
            "The number you have dialed is not in service.|Please check the number and dial again.",
            "We're sorry, your call cannot be completed as dialed.|Please check the number and try again.",
            "The subscriber you have called is not available.|Please try again later.",
            "All circuits are busy now.|Please try your call again later.",
            "The number you have called has been changed.|The new number is|{number}.",
            "The mobile phone you are calling is switched off or out of range.",
        ),
        "es": ("El número marcado no existe.|Por favor, compruebe el número.", "La línea a la que llama está ocupada."),
        "fr": ("Le numéro que vous avez composé n'est pas attribué.", "Toutes les lignes sont occupées."),
        "de": ("Kein Anschluss unter dieser Nummer.|Bitte rufen Sie die Auskunft an.", "Die Rufnummer ist geändert."),
        "it": ("Il numero da lei selezionato è inesistente.", "L'utente non è al momento raggiungibile."),
        "pt": ("O número chamado não existe.|Por favor, verifique o número.", "Este telefone está desligado."),
        "nl": ("Dit nummer is niet in gebruik.",),
        "ru": ("Набранный вами номер не существует.|Проверьте правильность набора.", "Аппарат абонента выключен."),
        "pl": ("Nie ma takiego numeru.",),
        "sv": ("Numret har ingen abonnent.",),
        "tr": ("Aradığınız numara kullanılmamaktadır.|Lütfen kontrol ediniz.",),
        "cmn": (
            "nin2 bo1 da3 de5 hao4 ma3 shi4 kong1 hao4, qing3 he2 dui4 hou4 zai4 bo1.",
            "nin2 bo1 da3 de5 yong4 hu4 zheng4 mang2, qing3 shao1 hou4 zai4 bo1.",
        ),
    }
)
"""What carriers say instead of connecting the call, and after special information tones."""
